import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { after, test } from "node:test"
import { promisify } from "node:util"
import { openEmbeddedCas, serveCas } from "../../src/cas/index.ts"
import { Node, person, policyText, putPolicy, scratch } from "../support/cas.ts"

const chromium = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((path) => existsSync(path))
const skip = chromium === undefined && "no Chromium is installed"
const place = scratch()
after(place.remove)
const run = promisify(execFile)

/** The page as it stands after its scripts have run. */
async function look(url: string): Promise<string> {
  const options = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--ignore-certificate-errors",
    "--no-first-run",
    `--user-data-dir=${join(place.dir, "profile")}`,
    "--virtual-time-budget=10000",
    "--dump-dom",
    url,
  ]
  const { stdout } = await run(chromium ?? "", options, {
    timeout: 60_000,
    maxBuffer: 16_777_216,
    env: { HOME: place.dir, PATH: "/usr/bin:/bin", TMPDIR: place.dir },
  })
  return stdout
}

function smallPolicy(name: string, admin: string): string {
  return `version: 1
name: ${name}
services: {}
platforms: {}
access: { keys: { a: "${admin}" }, update: { of: [a] } }
`
}

test("the page shows verdicts, policies and volumes, and verifies the log in the browser", {
  skip,
}, async () => {
  const dir = join(place.dir, "cas")
  const { cas, client } = await openEmbeddedCas(dir)
  const server = await serveCas({
    cas,
    host: "127.0.0.1",
    port: 0,
    pagePort: 0,
    log: () => undefined,
  })
  try {
    const alice = person()
    await putPolicy(cas, policyText(alice.public), [alice])
    const node = await new Node().prepare(client)
    const ask = (claims = {}) =>
      client.attest({
        policy: "shop",
        service: "web",
        makeEvidence: (binding) => node.evidence(binding, claims),
      })
    const { env } = await ask()
    await assert.rejects(
      client.attest({
        policy: "shop",
        service: "reader",
        makeEvidence: (binding) => node.evidence(binding, { mrEnclave: "00".repeat(32) }),
      }),
    )
    for (let i = 0; i < 120; i += 1)
      await putPolicy(cas, smallPolicy(`z-${String(i).padStart(3, "0")}`, alice.public), [alice])
    const good = await look(`${server.pageUrl ?? ""}/`)
    assert.match(good, /Verified in this browser: \d+ entries/)
    assert.match(good, /services\.reader\.measurements: wanted/)
    assert.match(good, /shop\/data\/0/)
    assert.match(good, /policy-created/)
    // A page of a table, not all of it, and a button for the rest.
    assert.match(good, /121 policies/)
    const table = /<table id="policies">[^]*?<\/table>/.exec(good)?.[0] ?? ""
    assert.match(table, /<td>z-098<\/td>/)
    assert.ok(!table.includes("z-099"))
    assert.match(good, /<button id="policies-more">more/)
    assert.match(good, /<button id="volumes-more" hidden/)
    assert.ok(!good.includes(env["TOKEN"] ?? "?"))
    const database = new DatabaseSync(join(dir, "cas.db"))
    database.exec(
      "UPDATE log SET value = CAST(replace(CAST(value AS TEXT), 'alice', 'mallo') AS BLOB) WHERE key LIKE '%3' OR key LIKE '%4' OR key LIKE '%5'",
    )
    database.close()
    assert.match(await look(`${server.pageUrl ?? ""}/`), /does NOT verify: entry \d does not fit/)
  } finally {
    await server.close()
    await cas.close()
  }
})
