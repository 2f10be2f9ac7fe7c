import assert from "node:assert/strict"
import { closeSync, mkdtempSync, openSync, readSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { checkBinfs, openBinfs, writeBinfs } from "../../src/binfs/index.ts"
import { CofferError } from "../../src/errors.ts"
import { type DirectoryNode, walk } from "../../src/tree/index.ts"
import { bytesOfSeed, directory, file, meta, sparse, symlink, xattr } from "./binfs-sample.ts"
import { Random } from "./random.ts"

/** The image of a tree, in memory, without its hash area. */
export function imageOf(tree: DirectoryNode): Buffer {
  const folder = mkdtempSync(join(tmpdir(), "coffer-binfs-image-"))
  const fd = openSync(join(folder, "image"), "w+")
  try {
    const { imageSize } = writeBinfs(tree, fd, 0, { workerCount: 0 })
    const bytes = Buffer.alloc(imageSize)
    readSync(fd, bytes, 0, imageSize, 0)
    return bytes
  } finally {
    closeSync(fd)
    rmSync(folder, { recursive: true })
  }
}

/** A tree of few blocks with each kind of thing, so that most mutations hit something that means something. */
export function smallTree(): DirectoryNode {
  const linked = file(bytesOfSeed(50, 2))
  const xattrs = [
    xattr("security.capability", bytesOfSeed(20, 1)),
    xattr("user.a", bytesOfSeed(3, 1)),
  ]
  const names = Array.from({ length: 60 }, (_, i) => `${i}${"n".repeat(60)}`)
  return directory([
    [
      "a",
      directory(
        [
          ["b", directory([["c", linked]])],
          ["l", linked],
        ],
        { xattrs },
      ),
    ],
    ["s", symlink("a/b/c")],
    ["hole", file(sparse(140_000, [[70_000, bytesOfSeed(9, 1)]], true))],
    ["plain", file(bytesOfSeed(8192, 1))],
    ["tail", file(bytesOfSeed(5000, 1))],
    ["null", { kind: "character", meta: meta(), major: 1, minor: 3 }],
    ["fifo", { kind: "fifo", meta: meta({ xattrs }) }],
    ["wide", directory(names.map((name) => [name, symlink(name)]))],
  ])
}

/** Opens, checks, and reads everything. An error must be ours, and say that the image is broken. */
export function readOrRefuse(image: Buffer, check: boolean): "read" | "refused" {
  try {
    const reader = openBinfs({
      size: image.length,
      read: (target, at) => target.set(image.subarray(at, at + target.length)),
    })
    if (check) checkBinfs(reader)
    let places = 0
    for (const { node } of walk(reader.root)) {
      places += 1
      // No image of this size has more: each name needs a byte.
      assert.ok(places < image.length, "more places than bytes")
      if (node.kind !== "file") continue
      const { size, ranges } = node.content
      assert.ok(ranges.every((range) => range.offset + range.size <= size))
      for (const { offset, size: length } of ranges)
        node.content.read(new Uint8Array(Math.min(length, 10_000)), offset)
    }
    return "read"
  } catch (error) {
    assert.ok(error instanceof CofferError, String(error instanceof Error ? error.stack : error))
    assert.equal(error.code, "integrity")
    return "refused"
  }
}

const edges = [0, 1, 2, 12, 31, 32, 64, 127, 128, 255, 4095, 4096, 65_535, 2 ** 31, 2 ** 32 - 1]

/** Mutates images: bytes, numbers at places where the format has them, runs copied elsewhere, cuts. */
export function fuzzBinfs(seed: number, count: number): { read: number; refused: number } {
  const original = imageOf(smallTree())
  const meant = [...original.keys()].filter((i) => original[i] !== 0 && i % 4096 !== i % 7)
  const outcomes = { read: 0, refused: 0 }
  for (let i = 0; i < count; i += 1) {
    const random = new Random(seed + i)
    const image = Buffer.from(original)
    for (let n = 1 + random.below(4); n > 0; n -= 1) mutate(image, meant, random)
    // Most mutations of the superblock stop at its checksum: half of the cases have a right one.
    if (random.below(2) === 0) original.copy(image, 0, 0, 1152)
    const cut = random.below(50) === 0 ? random.below(image.length) : image.length
    try {
      outcomes[readOrRefuse(image.subarray(0, cut), random.below(2) === 0)] += 1
    } catch (error) {
      throw new Error(`seed ${seed + i}`, { cause: error })
    }
  }
  return outcomes
}

function mutate(image: Buffer, meant: readonly number[], random: Random): void {
  const at = meant[random.below(meant.length)] ?? 0
  const aligned = Math.min(at - (at % 4), image.length - 4)
  switch (random.below(5)) {
    case 0:
      image[at] = (image[at] ?? 0) ^ (1 << random.below(8))
      return
    case 1:
      image[at] = random.below(256)
      return
    case 2:
      image.writeUInt32LE(edges[random.below(edges.length)] ?? 0, aligned)
      return
    case 3:
      image.writeUInt16LE(edges[random.below(13)] ?? 0, aligned)
      return
    default: {
      const from = meant[random.below(meant.length)] ?? 0
      image.copy(image, aligned, from - (from % 4), from - (from % 4) + 4 * (1 + random.below(16)))
    }
  }
}
