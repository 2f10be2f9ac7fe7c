export const pageHtml = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Coffer CAS</title>
<link rel="stylesheet" href="/page.css">
<script src="/page.js" type="module"></script>
<header>
  <h1>Coffer CAS</h1>
  <p id="identity"></p>
  <p id="chain" class="pending">The audit log is being verified in this browser…</p>
</header>
<main>
  <section><h2>Last attestations</h2><p><label>Beginning with <input id="verdicts-filter" autocomplete="off"></label></p><table id="verdicts"></table><button id="verdicts-more" hidden>more</button></section>
  <section><h2>Refused requests, newest first</h2><table id="refusals"></table></section>
  <section><h2>Policies</h2><p><label>Beginning with <input id="policies-filter" autocomplete="off"></label></p><table id="policies"></table><button id="policies-more" hidden>more</button></section>
  <section><h2>Volumes</h2><p><label>Beginning with <input id="volumes-filter" autocomplete="off"></label></p><table id="volumes"></table><button id="volumes-more" hidden>more</button></section>
  <section><h2>Audit log, newest first</h2><p><label>Show only <input id="filter" placeholder="shop/data" autocomplete="off"></label></p><table id="audit"></table></section>
</main>
</html>
`
