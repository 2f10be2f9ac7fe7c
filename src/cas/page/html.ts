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
  <section><h2>Last attestations</h2><table id="verdicts"></table></section>
  <section><h2>Refused requests, newest first</h2><table id="refusals"></table></section>
  <section><h2>Policies</h2><table id="policies"></table></section>
  <section><h2>Volumes</h2><table id="volumes"></table></section>
  <section><h2>Audit log, newest first</h2><p><label>Show only <input id="filter" placeholder="shop/data" autocomplete="off"></label></p><table id="audit"></table></section>
</main>
</html>
`
