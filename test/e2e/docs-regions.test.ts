import assert from "node:assert/strict"
import { test } from "node:test"
import { lacksImageTools, runPage } from "../support/page.ts"

test("every command of docs/regions.md works", {
  skip: lacksImageTools(),
  timeout: 600_000,
}, (t) => {
  const { status, stdout, stderr } = runPage(t, "docs/regions.md")
  assert.equal(status, 0, `${stdout}\n${stderr}`)
  assert.match(stdout, /encrypted +file .*\/app\/model\/weights\.txt/)
  const [, first = "", second = ""] = stdout.split(/^the weights of the secret model$/m)
  assert.match(
    first,
    /\/data: visit 1\n\/var\/audit: visit 1\n\/scratch: visit 1\n.*exchange: visit 1/,
  )
  assert.match(
    second,
    /\/data: visit 2\n\/var\/audit: visit 2\n\/scratch: visit 1\n.*exchange: visit 2/,
  )
  assert.match(stdout, /MrEnclave is the same[\s\S]*changed {2}\/app\/model: another content/)
  assert.match(stdout, /refused: status 125\nthe weights of the better model/)
  assert.equal(stdout.match(/refused: status 125/g)?.length, 2)
  assert.match(stderr, /wanted the content with tag .* found another version/)
  assert.match(stdout, /better model\n<h1>shop<\/h1>\n\/data: visit 1/)
})
