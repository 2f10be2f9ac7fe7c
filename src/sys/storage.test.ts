import assert from "node:assert/strict"
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { dropCache, fillRandom, reserveBlocks, tryLock } from "./storage.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-storage-"))
after(() => rmSync(folder, { recursive: true }))

test("a lock has one holder, and ends with its descriptor", () => {
  const path = join(folder, "lock")
  const [one, two] = [openSync(path, "a"), openSync(path, "a")]
  assert.equal(tryLock(one), true)
  assert.equal(tryLock(two), false)
  closeSync(one)
  assert.equal(tryLock(two), true)
  closeSync(two)
})

test("reserved blocks are there, and the file's size stays", () => {
  const fd = openSync(join(folder, "blocks"), "w+")
  if (reserveBlocks(fd, 0, 1 << 20)) assert.ok(fstatSync(fd).blocks * 512 >= 1 << 20)
  assert.equal(fstatSync(fd).size, 0)
  assert.throws(
    () => reserveBlocks(fd, 0, 2 ** 62),
    (error) => error instanceof Error && "code" in error,
  )
  dropCache(fd)
  closeSync(fd)
})

test("random bytes fill what was given, no more than 256 at once", () => {
  const bytes = new Uint8Array(256)
  fillRandom(bytes)
  assert.ok(new Set(bytes).size > 100)
  assert.throws(() => fillRandom(new Uint8Array(257)), TypeError)
})
