import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { Inode } from "./inode.ts"
import { maxInodeSize } from "./keys.ts"

const u32 = fc.oneof(fc.constantFrom(0, 1, 1000, 65535, 65536, 2 ** 32 - 1), fc.nat(2 ** 31 - 1))
const number = fc.oneof(u32, fc.maxSafeNat())
const nanoseconds = fc.oneof(fc.constantFrom(0, 999_999_999), fc.nat(999_999_999))
const seconds = fc.oneof(
  fc.integer({ min: 1_790_000_000, max: 1_790_000_004 }),
  fc.constantFrom(-1, 0, 2 ** 32 - 1, 2 ** 32, -(2 ** 40), 2 ** 40),
)

const fields = fc.record({
  mode: fc.nat(65535),
  uid: u32,
  gid: u32,
  linkCount: u32,
  size: number,
  allocated: number,
  extra: number,
  atimeSeconds: seconds,
  mtimeSeconds: seconds,
  ctimeSeconds: seconds,
  atimeNanoseconds: nanoseconds,
  mtimeNanoseconds: nanoseconds,
  ctimeNanoseconds: nanoseconds,
  flags: fc.nat(15),
})

test("an inode comes back as it was, and has one way to stand", () => {
  fc.assert(
    fc.property(fields, fc.boolean(), (wanted, sameSize) => {
      const inode = Object.assign(new Inode(7), wanted)
      if (sameSize) inode.allocated = inode.size
      const words = new Uint32Array(30).fill(0xffffffff)
      const size = inode.encode(words.subarray(5))
      assert.ok(size <= maxInodeSize)
      const found = new Inode(7)
      found.decode(words, 5)
      assert.deepEqual(found, inode)
      const again = new Uint32Array(30).fill(0xffffffff)
      assert.equal(found.encode(again.subarray(5)), size)
      assert.deepEqual(again, words)
    }),
    { numRuns: 2000 },
  )
})

test("a small file of a user has 24 bytes, one of root 20", () => {
  const inode = new Inode(2)
  inode.mode = 0o100644
  inode.linkCount = 1
  inode.size = 4096
  inode.allocated = 4096
  inode.setAtime({ seconds: 1_790_000_000, nanoseconds: 5 })
  inode.setMtime({ seconds: 1_790_000_001, nanoseconds: 3 })
  inode.setCtime({ seconds: 1_790_000_001, nanoseconds: 3 })
  assert.equal(inode.encode(new Uint32Array(20)), 20)
  inode.uid = 1000
  assert.equal(inode.encode(new Uint32Array(20)), 24)
})
