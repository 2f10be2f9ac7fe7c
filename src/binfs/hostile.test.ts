import assert from "node:assert/strict"
import { test } from "node:test"
import { fuzzBinfs, imageOf, readOrRefuse, smallTree } from "../../test/support/binfs-fuzz.ts"
import { directory } from "../../test/support/binfs-sample.ts"
import { utf8OfByteString } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { type DirectoryNode, walk } from "../tree/index.ts"
import { hashTreeOfBytes, VerifiedSource } from "../verity/index.ts"
import { checkBinfs } from "./check.ts"
import { openBinfs } from "./reader.ts"

function open(image: Buffer): ReturnType<typeof openBinfs> {
  return openBinfs({
    size: image.length,
    read: (target, at) => target.set(image.subarray(at, at + target.length)),
  })
}

/** The number of the node at a path. */
function nidOf(image: Buffer, ...names: readonly string[]): number {
  const reader = open(image)
  let place = reader.stat(reader.rootNid)
  for (const name of names) {
    const next = reader.lookUp(place, utf8OfByteString(name))
    assert.ok(next !== undefined, name)
    place = next
  }
  return place.nid
}

/** Where the entry that names `nid` second is, or is first: its 8 bytes hold that number. */
function entriesTo(image: Buffer, nid: number): number[] {
  const found: number[] = []
  const wanted = Buffer.alloc(8)
  wanted.writeUInt32LE(nid)
  for (let at = image.indexOf(wanted); at !== -1; at = image.indexOf(wanted, at + 1)) found.push(at)
  return found
}

function refused(image: Buffer, pattern: RegExp, check = true): void {
  assert.throws(
    () => {
      const reader = open(image)
      if (check) checkBinfs(reader)
      else for (const _ of walk(reader.root));
    },
    (error) =>
      error instanceof CofferError && error.code === "integrity" && pattern.test(error.message),
    String(pattern),
  )
}

test("2,000 mutated images: read, or refused with an error of ours", () => {
  const { read, refused: count } = fuzzBinfs(1, 2000)
  assert.ok(read > 100 && count > 500, `${read} read, ${count} refused`)
})

test("an image cut at every block, and within blocks, is refused", () => {
  const image = imageOf(smallTree())
  for (let size = 0; size < image.length; size += 1024)
    assert.equal(readOrRefuse(image.subarray(0, size), false), "refused", String(size))
  const longer = Buffer.concat([image, Buffer.alloc(4096)])
  assert.equal(readOrRefuse(longer, false), "refused")
})

test("every byte of a small image and its hash area, flipped, is seen by verity", () => {
  const image = imageOf(directory([["a", directory([])]]))
  const { rootHash, area } = hashTreeOfBytes(image)
  const whole = Buffer.concat([image, area])
  const place = { dataSize: image.length, hashOffset: image.length, rootHash }
  for (let i = 0; i < whole.length; i += 1) {
    whole[i] = (whole[i] ?? 0) ^ 0x10
    const source = new VerifiedSource(
      {
        size: whole.length,
        read: (target, at) => target.set(whole.subarray(at, at + target.length)),
      },
      place,
    )
    assert.throws(() => source.readAll(() => undefined), CofferError, `byte ${i}`)
    whole[i] = (whole[i] ?? 0) ^ 0x10
  }
})

test("a directory that leads back up, or stands in two places, is not entered", () => {
  const loop = imageOf(smallTree())
  const [a, b] = [nidOf(loop, "a"), nidOf(loop, "a", "b")]
  // The entry of b in a leads to a itself; the last one found is b's own dot.
  for (const at of entriesTo(loop, b)) if (loop[at + 10] === 2) loop.writeUInt32LE(a, at)
  refused(loop, /directory/, false)
  const up = imageOf(smallTree())
  for (const at of entriesTo(up, b)) up.writeUInt32LE(36, at)
  refused(up, /directory/, false)
})

function inode(image: Buffer, ...names: readonly string[]): number {
  return nidOf(image, ...names) * 32
}

test("counts, numbers and overlaps that lie are found by the check", () => {
  const tree = smallTree()
  const cases: readonly (readonly [RegExp, (image: Buffer) => void])[] = [
    [/i_nlink/, (image) => image.writeUInt32LE(3, inode(image, "a", "l") + 44)],
    [/i_ino|i_nlink/, (image) => image.writeUInt32LE(1, inode(image, "a", "l") + 44)],
    [/i_nlink/, (image) => image.writeUInt32LE(7, inode(image, "a") + 44)],
    [/i_ino/, (image) => image.writeUInt32LE(99, inode(image, "plain") + 20)],
    [
      /bytes of its own/,
      (image) => {
        const from = image.readUInt32LE(inode(image, "tail") + 16)
        image.writeUInt32LE(from, inode(image, "plain") + 16)
      },
    ],
    [/reserved/, (image) => image.writeUInt32LE(1, inode(image, "plain") + 60)],
    [/within/, (image) => image.writeUInt32LE(1 << 20, inode(image, "plain") + 16)],
    [/i_format/, (image) => image.writeUInt16LE(0, inode(image, "plain"))],
    [/nsec/, (image) => image.writeUInt32LE(1_000_000_000, inode(image, "plain") + 40)],
    [/whiteout/, (image) => image.writeUInt32LE(0, inode(image, "null") + 16)],
    [/0777/, (image) => image.writeUInt16LE(0o120755, inode(image, "s") + 4)],
    [/zeros/, (image) => image.writeUInt8(1, 4096 + 9)],
  ]
  for (const [pattern, change] of cases) {
    const image = imageOf(tree)
    change(image)
    refused(image, pattern)
  }
})

test("a tree deeper than the limit is refused by the reader, lazily and in the check", () => {
  let tree: DirectoryNode = directory([])
  for (let i = 0; i < 1024; i += 1) tree = directory([["d", tree]])
  checkBinfs(open(imageOf(tree)))
  refused(imageOf(directory([["d", tree]])), /depth/)
  refused(imageOf(directory([["d", tree]])), /depth/, false)
})
