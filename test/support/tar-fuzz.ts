import assert from "node:assert/strict"
import { concatBytes } from "../../src/bytes/index.ts"
import { CofferError } from "../../src/errors.ts"
import { treeFromTar, writeTar } from "../../src/tar/index.ts"
import { contentOfBytes, type DirectoryNode, type TreeNode, walk } from "../../src/tree/index.ts"
import { Random } from "./random.ts"
import { fixChecksum, member, octal, pax, rawTar } from "./raw-tar.ts"
import { sampleTree } from "./sample-tree.ts"

/** Tars with every kind of record that the reader knows. */
export function seedTars(): readonly [Uint8Array, ...Uint8Array[]] {
  const parts: Uint8Array[] = []
  writeTar(sampleTree({ sockets: true }), (bytes) => parts.push(Uint8Array.from(bytes)))
  const directory = member({ name: "d/", type: "5" })
  const gnu = { magic: "ustar  \0" }
  const records = {
    "SCHILY.xattr.user.a": "\0\n",
    "SCHILY.acl.access": "user::rw-,user:7:rwx,group::r--,mask::rwx,other::r--",
    mtime: "-1.5",
    uid: "3000000",
  }
  const sparseKeys = { "GNU.sparse.size": "9000", "GNU.sparse.numblocks": "2" }
  const pairs = [
    ...Object.entries(sparseKeys),
    ["GNU.sparse.offset", "0"],
    ["GNU.sparse.numbytes", "3"],
    ["GNU.sparse.offset", "8000"],
    ["GNU.sparse.numbytes", "5"],
  ] as const
  return [
    concatBytes(...parts),
    rawTar(
      directory,
      pax(records),
      member({ name: "d/f", data: "abc" }),
      member({ name: "l", type: "1", linkName: "d/f" }),
    ),
    rawTar(
      member({ type: "L", data: `${"n".repeat(120)}\0`, ...gnu }),
      member({ type: "K", data: "t\0", ...gnu }),
      member({ type: "2", ...gnu }),
    ),
    rawTar(pax({ ...sparseKeys, "GNU.sparse.map": "0,3,8000,5" }), member({ data: "abcdefgh" })),
    rawTar(pax(pairs), member({ data: "abcdefgh" })),
    rawTar(oldSparse()),
    rawTar(pax({ uid: "5" }, "g"), member({ type: "3", major: "0000001", minor: "0000003" })),
  ]
}

/** GNU's header of type S, with a block that continues the map. */
function oldSparse(): Uint8Array {
  const made = member({ type: "S", magic: "ustar  \0", size: octal(8), data: "" })
  const more = new Uint8Array(1024)
  more.set(pair(8000, 5), 0)
  more.set(Buffer.from("abcdefgh"), 512)
  made.set(pair(0, 3), 386)
  made[482] = 1
  made.set(Buffer.from(`${octal(9000)}\0`), 483)
  fixChecksum(made)
  return concatBytes(made, more)
}

function pair(offset: number, size: number): Uint8Array {
  return Buffer.from(`${octal(offset)}\0${octal(size)}\0`, "latin1")
}

/** Reads, and touches all that was read. An error must be ours, and must be of the input. */
export function readOrRefuse(tar: Uint8Array, dialect: "strict" | "layer"): "read" | "refused" {
  let tree: DirectoryNode
  try {
    tree = treeFromTar(contentOfBytes(tar), { dialect })
  } catch (error) {
    assert.ok(error instanceof CofferError, String(error))
    assert.ok(error.code === "integrity" || error.code === "config", error.code)
    return "refused"
  }
  let placeCount = 0
  for (const { node } of walk(tree)) {
    touch(node)
    placeCount += 1
  }
  assert.ok(placeCount < 3000)
  return "read"
}

function touch(node: TreeNode): void {
  if (node.kind !== "file") return
  const { content } = node
  let end = -1
  for (const { offset, size } of content.ranges) {
    assert.ok(offset > end && size > 0 && offset + size <= content.size)
    end = offset + size
  }
  const size = Math.min(content.size, 4096)
  content.read(new Uint8Array(size), 0)
  content.read(new Uint8Array(size), content.size - size)
}

const interesting = [0, 1, 0x20, 0x2e, 0x2f, 0x30, 0x37, 0x39, 0x3d, 0x7f, 0x80, 0xff] as const

/** Some bytes changed, blocks dropped, doubled or swapped; then, mostly, checksums that fit again. */
export function mutate(seed: Uint8Array, random: Random): Uint8Array {
  let tar: Uint8Array = Uint8Array.from(seed)
  for (let i = random.below(4); i >= 0; i--) {
    const kind = random.below(10)
    const [a, b] = [random.below(tar.length / 512) * 512, random.below(tar.length / 512) * 512]
    if (kind === 0) tar = concatBytes(tar.subarray(0, a), tar.subarray(a + 512))
    else if (kind === 1)
      tar = concatBytes(tar.subarray(0, a), tar.subarray(b, b + 512), tar.subarray(a))
    else if (kind === 2) tar.copyWithin(a, b, b + 512)
    else if (kind === 3) tar = tar.subarray(0, random.below(tar.length))
    else tar[nearHeader(tar, random)] = kind < 8 ? random.pick(interesting) : random.below(256)
    if (tar.length < 1024) return tar
  }
  if (random.below(5) > 0) fixHeaders(tar)
  return tar
}

// Most of a tar is content; the first bytes of its blocks are where the decisions are.
function nearHeader(tar: Uint8Array, random: Random): number {
  const block = random.below(tar.length / 512) * 512
  return Math.min(block + random.below(random.pick([160, 512])), tar.length - 1)
}

function fixHeaders(tar: Uint8Array): void {
  for (let at = 0; at + 512 <= tar.length; at += 512) {
    const block = tar.subarray(at, at + 512)
    const magic = Buffer.from(block.subarray(257, 262)).toString("latin1")
    if (magic === "ustar") fixChecksum(block)
  }
}

/** Runs `count` cases from a seed, and says how many were read. The seed is in the message of a failure. */
export function fuzzTar(seed: number, count: number): number {
  const seeds = seedTars()
  let readCount = 0
  for (let i = 0; i < count; i++) {
    const random = new Random(seed + i)
    const tar = mutate(random.pick(seeds), random)
    try {
      const dialect = random.pick(["strict", "layer"] as const)
      if (readOrRefuse(tar, dialect) === "read") readCount += 1
    } catch (cause) {
      throw new Error(`seed ${seed + i}: ${String(cause)}`, { cause })
    }
  }
  return readCount
}
