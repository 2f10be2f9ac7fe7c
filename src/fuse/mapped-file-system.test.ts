import assert from "node:assert/strict"
import { describe, test } from "node:test"
import type { ByteString } from "../bytes/index.ts"
import type { Attributes, Caller, FileSystem } from "./filesystem.ts"
import { type IdMaps, insideId, nobodysId, outsideId } from "./id-maps.ts"
import { MappedFileSystem } from "./mapped-file-system.ts"
import { aclInside, aclOutside, capabilityInside, capabilityOutside } from "./mapped-xattrs.ts"

const maps: IdMaps = {
  uids: [
    { inside: 0, outside: 100_000, size: 10 },
    { inside: 1000, outside: 7, size: 1 },
  ],
  gids: [{ inside: 0, outside: 200_000, size: 10 }],
}

function show(out: Attributes, { uid, gid }: { uid: number; gid: number }): number {
  Object.assign(out, { uid, gid })
  return 0
}

void describe("ids of a container", () => {
  test("both ways at the ends of each range, and nobody beyond", () => {
    for (const [inside, outside] of [
      [0, 100_000],
      [9, 100_009],
      [1000, 7],
    ] as const) {
      assert.equal(outsideId(maps.uids, inside), outside)
      assert.equal(insideId(maps.uids, outside), inside)
    }
    for (const id of [10, 999, 1001, nobodysId]) assert.equal(outsideId(maps.uids, id), undefined)
    for (const id of [0, 6, 8, 99_999, 100_010]) assert.equal(insideId(maps.uids, id), undefined)
  })

  test("attributes, callers and changes of owner go through the mapping", () => {
    const seen: Caller[] = []
    const owner = { uid: 1000, gid: 3 }
    const inner = {
      options: {},
      getattr: (_: number, out: Attributes) => show(out, owner),
      mkdir(_: number, __: ByteString, ___: number, caller: Caller, out: Attributes) {
        seen.push({ ...caller })
        return show(out, caller)
      },
      setattr(_: number, change: object, out: Attributes) {
        Object.assign(owner, change)
        return show(out, owner)
      },
    } as unknown as FileSystem
    const fs = new MappedFileSystem(inner, maps)
    const out = {} as Attributes
    fs.getattr(1, out)
    assert.deepEqual([out.uid, out.gid], [7, 200_003])
    const caller = { uid: 100_001, gid: 200_002, pid: 1, umask: 0o22 }
    assert.equal(fs.mkdir(1, "x" as ByteString, 0o755, caller, out), 0)
    assert.deepEqual(seen, [{ uid: 1, gid: 2, pid: 1, umask: 0o22 }])
    assert.deepEqual([out.uid, out.gid], [100_001, 200_002])
    const root = { ...caller, uid: 0 }
    assert.equal(fs.mkdir(1, "x" as ByteString, 0o755, root, out), -75)
    const change = { uid: 100_004, gid: 200_005 } as never
    assert.equal(fs.setattr(1, change, out), 0)
    assert.deepEqual([owner.uid, owner.gid], [4, 5])
    assert.equal(fs.setattr(1, { uid: 0, gid: undefined } as never, out), -22)
    owner.uid = 70_000
    fs.getattr(1, out)
    assert.deepEqual([out.uid, out.gid], [nobodysId, 200_005])
  })
})

/** tag, permissions, id. */
function acl(...entries: (readonly [number, number, number])[]): Uint8Array {
  const bytes = Buffer.alloc(4 + 8 * entries.length)
  bytes.writeUInt32LE(2, 0)
  for (const [i, [tag, permissions, id]] of entries.entries()) {
    bytes.writeUInt16LE(tag, 4 + 8 * i)
    bytes.writeUInt16LE(permissions, 6 + 8 * i)
    bytes.writeUInt32LE(id, 8 + 8 * i)
  }
  return Uint8Array.from(bytes)
}

void describe("xattrs with ids in them", () => {
  const none = 0xffff_ffff
  const inside = acl(
    [1, 7, none],
    [2, 5, 1000],
    [4, 5, none],
    [8, 4, 3],
    [16, 5, none],
    [32, 0, none],
  )
  const outside = acl(
    [1, 7, none],
    [2, 5, 7],
    [4, 5, none],
    [8, 4, 200_003],
    [16, 5, none],
    [32, 0, none],
  )

  test("an ACL: users and groups by name, and nothing else", () => {
    assert.deepEqual(aclOutside(inside, maps), outside)
    assert.deepEqual(aclInside(outside, maps), inside)
    const stranger = acl([2, 7, 70_000])
    assert.deepEqual(aclOutside(stranger, maps), acl([2, 7, nobodysId]))
    assert.equal(aclInside(acl([2, 7, 0]), maps), -22)
    for (let size = 0; size < inside.length; size += 1)
      assert.equal(aclOutside(inside.subarray(0, size), maps).length, size)
  })

  const v2 = Uint8Array.fromHex("0100000200040000000000000000000000000000")
  const v3 = Uint8Array.fromHex("0100000300040000000000000000000000000000a0860100")

  test("capabilities count for root of the container", () => {
    assert.deepEqual(capabilityOutside(v2, maps), v3)
    assert.deepEqual(capabilityInside(v3, maps), v2)
    const other = v3.slice()
    new DataView(other.buffer).setUint32(20, 7, true)
    const stored = capabilityInside(other, maps)
    assert.ok(typeof stored !== "number")
    assert.equal(new DataView(Uint8Array.from(stored).buffer).getUint32(20, true), 1000)
    assert.deepEqual(capabilityOutside(stored, maps), other)
  })

  test("those of strangers are none, and nobody inside makes any for the root outside", () => {
    const stranger = v3.slice()
    new DataView(stranger.buffer).setUint32(20, 70_000, true)
    assert.equal(capabilityOutside(stranger, maps), -61)
    assert.equal(capabilityInside(stranger, maps), -22)
    assert.equal(capabilityInside(v2, maps), -22)
    for (let size = 0; size < v3.length; size += 1)
      assert.equal(capabilityInside(v3.subarray(0, size), maps), -22)
  })
})
