import assert from "node:assert/strict"
import { test } from "node:test"
import { lacksImageTools, runPage } from "../support/page.ts"

// Every command of the tutorials, as it stands there, in one shell and an empty directory.

const how = { skip: lacksImageTools(), timeout: 500_000 }

test("the tutorial on a Python service", how, (t) => {
  const { status, stdout, stderr } = runPage(t, "docs/tutorial-python.md")
  assert.equal(status, 0, `${stdout}\n${stderr}`)
  const mrEnclave = /MrEnclave {2}([0-9a-f]{64})/.exec(stdout)?.[1] ?? "none"
  assert.ok(stdout.includes(`${mrEnclave}  shop.sgxs`), "sha256sum of the stream is MrEnclave")
  assert.match(stdout, /visit number 1\nvisit number 2\n/)
  assert.match(stderr, /sealed by Coffer, MrEnclave/)
  assert.match(stdout, /status 126/)
  // The older volume, then the other code.
  assert.match(stdout, /visit number 3\nrefused: status 125/)
  assert.match(stdout, /changed {2}\/app\/app.py: [^\n]*content[\s\S]*refused: status 125/)
  assert.match(stderr, /measurements: wanted [^\n]*\n {2}hint: [^\n]*coffer run --accept IMAGE/)
  assert.doesNotMatch(stdout, /I send your data/)
  assert.match(stdout, /refused: status 3/)
  assert.match(stdout, /nobody else reads this/)
})

test("the tutorial on a Node.js service", how, (t) => {
  const { status, stdout, stderr } = runPage(t, "docs/tutorial-node.md")
  assert.equal(status, 0, `${stdout}\n${stderr}`)
  assert.match(stdout, /nothing yet[^]*who are you\?[^]*nothing yet[^]*buy milk/)
  assert.match(stderr, /process\.env: PORT: wanted a value that matches/)
  assert.match(stderr, /process\.args: wanted no arguments/)
  assert.match(stderr, /wanted the volume that CAS/)
  assert.equal(stdout.match(/refused: status 125/g)?.length, 3)
  assert.match(stderr, /exec: wanted a command that the measured manifest lists/)
  assert.match(stdout, /no exec/)
})
