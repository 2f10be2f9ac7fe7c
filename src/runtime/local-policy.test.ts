import assert from "node:assert/strict"
import { existsSync, rmSync } from "node:fs"
import { join } from "node:path"
import { after, test } from "node:test"
import { act, person, policyText, putPolicy, scratch } from "../../test/support/cas.ts"
import { openEmbeddedCas } from "../cas/index.ts"
import { ensureLocalPolicy } from "./local-policy.ts"
import type { MeasuredFile } from "./sealed-image.ts"

const place = scratch()
after(place.remove)
const { cas } = await openEmbeddedCas(place.dir)
after(() => cas.close())

function image(name: string, fill: number): MeasuredFile {
  const manifest = { name, debug: false, regions: [] }
  return { sealed: { manifest, mrEnclave: new Uint8Array(32).fill(fill) } } as never
}

async function start(file: MeasuredFile, accept = false): Promise<string[]> {
  const { sequence } = await cas.head()
  await ensureLocalPolicy(cas, place.dir, file, { accept })
  const lines = await cas.auditLines(sequence + 1, 100)
  return lines.map((line) => (JSON.parse(line.slice(65)) as { readonly kind: string }).kind)
}

test("the first start makes a policy; the next ones only look whether there is one", async () => {
  assert.deepEqual(await start(image("web", 1)), ["policy-created"])
  assert.deepEqual(await start(image("web", 1)), [])
  assert.deepEqual(await start(image("web", 2)), [])
  assert.deepEqual(await start(image("we", 1)), ["policy-created"])
  assert.deepEqual(
    (await cas.policies("", 9)).map(({ name }) => name),
    ["we", "web"],
  )
})

test("another image is accepted by a person only, and once", async () => {
  assert.deepEqual(await start(image("web", 2), true), ["policy-read", "policy-updated"])
  assert.deepEqual(await start(image("web", 2), true), ["policy-read"])
})

test("a policy that a person has made is not looked into, and no key is made for it", async () => {
  const key = join(place.dir, "operator.key")
  rmSync(key)
  const alice = person()
  await putPolicy(cas, policyText(alice.public), [alice])
  assert.deepEqual(await start(image("shop", 1)), [])
  assert.equal(existsSync(key), false)
  await start(image("shop", 1), true)
  const read = await cas.act(act(cas, "shop", { verb: "read-policy" }, [alice]))
  assert.equal(read.result.verb === "read-policy" && read.result.revision, 1)
})
