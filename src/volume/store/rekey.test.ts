import assert from "node:assert/strict"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { checkContent, key, Tiny } from "../../../test/crash/workload.ts"
import { CofferError } from "../../errors.ts"
import { NodeDisk } from "./node-disk.ts"
import { createStore, openStore } from "./open.ts"
import { requestRekey } from "./rekey.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-rekey-"))
after(() => rmSync(folder, { recursive: true }))
const newKey = Buffer.alloc(32, 0x77)

function wrongKey(error: unknown): boolean {
  return error instanceof CofferError && error.reason === "wrong-key"
}

test("a volume in use is rekeyed by its writer, and again is no harm", () => {
  const directory = join(folder, "used")
  let now = Date.now()
  const settings = { readerGraceMs: 0, now: () => now }
  const opened = createStore({
    disk: new NodeDisk(directory),
    key,
    protection: "encrypted",
    settings,
  })
  const tiny = new Tiny(opened)
  for (let i = 0; i < 10; i += 1) tiny.put(1000)
  tiny.commit(true)
  const options = { disk: new NodeDisk(directory), key, newKey, now: () => now }
  const state = requestRekey(options)
  assert.equal(state.kind, "asked")
  assert.equal(state.poll(), undefined)
  const request = readFileSync(join(directory, "rekey"))
  // Changed, or too old, it counts for nothing.
  for (const bad of [
    request.subarray(1),
    Buffer.concat([request.subarray(0, 71), Buffer.from([0])]),
  ]) {
    writeFileSync(join(directory, "rekey"), bad)
    now += 1001
    opened.store.tick(0)
    assert.ok(existsSync(join(directory, "rekey")))
  }
  writeFileSync(join(directory, "rekey"), request)
  now += 120_000
  opened.store.tick(0)
  assert.ok(existsSync(join(directory, "rekey")))
  now += 1001
  const again = requestRekey(options)
  assert.equal(again.kind, "asked")
  opened.store.tick(0)
  assert.ok(!existsSync(join(directory, "rekey")))
  assert.equal(again.poll()?.generation, 1)
  tiny.put(2000)
  tiny.commit(true)
  checkContent(tiny.store, tiny.items)
  assert.ok(tiny.store.segments().some(({ stale }) => stale))
  tiny.store.close()
  assert.throws(() => openStore({ disk: new NodeDisk(directory), key }), wrongKey)
  assert.equal(requestRekey(options).kind, "done")
})

test("when nothing is under the old key any more, the volume has forgotten it", () => {
  const directory = join(folder, "retired")
  const settings = { readerGraceMs: 0, segmentSize: 64 * 1024 }
  const tiny = new Tiny(
    createStore({ disk: new NodeDisk(directory), key, protection: "encrypted", settings }),
  )
  for (let i = 0; i < 30; i += 1) tiny.put(4000)
  tiny.commit(true)
  tiny.store.close()
  assert.equal(requestRekey({ disk: new NodeDisk(directory), key, newKey }).kind, "done")
  const renewed = { disk: new NodeDisk(directory), key: newKey, settings }
  const second = new Tiny(openStore(renewed))
  checkContent(second.store, second.items)
  for (let i = 0; i < 20 && second.store.segments().some(({ stale }) => stale); i += 1)
    second.compact()
  second.checkpoint()
  second.checkpoint()
  second.store.close()
  const third = new Tiny(openStore(renewed))
  assert.ok(third.store.segments().every(({ stale }) => !stale))
  checkContent(third.store, third.items)
  third.store.close()
})
