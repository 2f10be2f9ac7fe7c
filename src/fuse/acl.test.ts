import assert from "node:assert/strict"
import { test } from "node:test"
import { aclAfterChmod, aclForNewFile, modeOfAcl } from "./index.ts"

type Entry = readonly [tag: number, permissions: number, id?: number]

function acl(...entries: readonly Entry[]): Uint8Array {
  const bytes = Buffer.alloc(4 + entries.length * 8)
  bytes.writeUInt32LE(2, 0)
  for (const [i, [tag, permissions, id = 0xffffffff]] of entries.entries()) {
    bytes.writeUInt16LE(tag, 4 + i * 8)
    bytes.writeUInt16LE(permissions, 6 + i * 8)
    bytes.writeUInt32LE(id, 8 + i * 8)
  }
  return new Uint8Array(bytes)
}

const full = acl([1, 7], [2, 5, 1000], [4, 5], [0x10, 7], [0x20, 4])
const minimal = acl([1, 7], [4, 5], [0x20, 1])

test("a new file takes the default ACL, bounded by the mode asked for, and no umask", () => {
  assert.deepEqual(aclForNewFile(undefined, 0o100666, 0o022), { mode: 0o100644, access: undefined })
  assert.deepEqual(aclForNewFile(full, 0o100640, 0o077), {
    mode: 0o100640,
    access: acl([1, 6], [2, 5, 1000], [4, 5], [0x10, 4], [0x20, 0]),
  })
  assert.deepEqual(aclForNewFile(minimal, 0o40777, 0o777), { mode: 0o40751, access: undefined })
})

test("chmod changes owner, mask and other", () => {
  assert.deepEqual(
    aclAfterChmod(full, 0o620),
    acl([1, 6], [2, 5, 1000], [4, 5], [0x10, 2], [0x20, 0]),
  )
  assert.deepEqual(aclAfterChmod(minimal, 0o620), acl([1, 6], [4, 2], [0x20, 0]))
})

test("setting an ACL changes the mode, and one that says no more is not stored", () => {
  assert.deepEqual(modeOfAcl(full, 0o104000), { mode: 0o104774, minimal: false })
  assert.deepEqual(modeOfAcl(minimal, 0o100000), { mode: 0o100751, minimal: true })
})

test("what is no ACL is none", () => {
  for (const bytes of [new Uint8Array(0), full.subarray(1), full.subarray(0, 20), Buffer.alloc(28)])
    assert.equal(modeOfAcl(bytes, 0), undefined)
})
