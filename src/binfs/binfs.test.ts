import assert from "node:assert/strict"
import { closeSync, mkdtempSync, openSync, readSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import {
  bytesOfSeed,
  directory,
  file,
  meta,
  sampleTree,
  sparse,
  symlink,
  xattr,
} from "../../test/support/binfs-sample.ts"
import { tableFaults, toHex, utf8OfByteString } from "../bytes/index.ts"
import { sha256 } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"
import { type Content, type DirectoryNode, treeDigest, walk } from "../tree/index.ts"
import { checkBinfs } from "./check.ts"
import { crc32c } from "./crc32c.ts"
import { inodeTable, superblockTable } from "./format.ts"
import { openBinfs } from "./reader.ts"
import { type WrittenBinfs, writeBinfs } from "./writer.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-binfs-"))
after(() => rmSync(folder, { recursive: true }))

interface Written extends WrittenBinfs {
  readonly bytes: Buffer
}

function write(tree: DirectoryNode, workerCount = 0, expectedSize = 0): Written {
  const fd = openSync(join(folder, "image"), "w+")
  try {
    const written = writeBinfs(tree, fd, 0, { workerCount, expectedSize })
    const bytes = Buffer.alloc(written.imageSize + written.hashSize)
    readSync(fd, bytes, 0, bytes.length, 0)
    return { ...written, bytes }
  } finally {
    closeSync(fd)
  }
}

function open(bytes: Uint8Array): ReturnType<typeof openBinfs> {
  return openBinfs({
    size: bytes.length,
    read: (target, at) => target.set(bytes.subarray(at, at + target.length)),
  })
}

function image({ bytes, imageSize }: Written): Buffer {
  return bytes.subarray(0, imageSize)
}

test("the structs' fields touch and add up; CRC-32C has its check value", () => {
  assert.deepEqual(tableFaults(superblockTable, 128), [])
  assert.deepEqual(tableFaults(inodeTable, 64), [])
  assert.equal((crc32c(Buffer.from("123456789")) ^ 0xffffffff) >>> 0, 0xe3069283)
})

test("golden: the sample tree has these bytes", () => {
  const written = write(sampleTree())
  assert.equal(
    toHex(sha256(written.bytes)),
    "eb277ec0ff3fe81af9605418f73ee0f9c1a5f7486867da63c5f87ad5c84b2650",
  )
  assert.equal(
    toHex(written.rootHash),
    "dd8174b9763a50a2e7d4d70359dfefa442a0cf980eaa8726c97b5e0ec5c5e692",
  )
})

test("golden: the worked example of the spec", () => {
  const mtime = { seconds: 0, nanoseconds: 0 }
  const { rootHash, imageSize, hashSize } = write(directory([], { mtime }))
  assert.deepEqual([imageSize, hashSize], [4096, 0])
  const wanted = "4ee516204f25771294f46dcd5e3a624d3255bfb64fe32ee8bf95f862fb8efa2b"
  assert.equal(toHex(rootHash), wanted)
})

test("a tree read back is the same, sound, and writes the same bytes again", () => {
  const written = write(sampleTree())
  const reader = open(image(written))
  checkBinfs(reader)
  assert.equal(treeDigest(reader.root), treeDigest(sampleTree()))
  assert.ok(write(reader.root).bytes.equals(written.bytes))
})

test("the same bytes whatever the order of names, what is known of holes, and the workers", () => {
  const { bytes } = write(sampleTree())
  assert.ok(write(sampleTree(false)).bytes.equals(bytes))
  assert.ok(write(reversed(sampleTree())).bytes.equals(bytes))
  assert.ok(write(sampleTree(), 2).bytes.equals(bytes))
})

function reversed(node: DirectoryNode): DirectoryNode {
  const children = [...node.children].toReversed()
  const turned = children.map(
    ([name, child]) => [name, child.kind === "directory" ? reversed(child) : child] as const,
  )
  return { ...node, children: new Map(turned) }
}

test("an image that workers write is the one that this thread writes", () => {
  const large = Array.from(
    { length: 30 },
    (_, i) => [`${i}`, file(bytesOfSeed(1_000_001, i))] as const,
  )
  const tree = directory(large)
  const { bytes } = write(tree)
  for (const workerCount of [1, 3])
    for (const expectedSize of [0, 1, 1 << 30])
      assert.ok(write(tree, workerCount, expectedSize).bytes.equals(bytes))
})

test("holes come back as holes, and reads of any range are right", () => {
  const reader = open(image(write(sampleTree())))
  const contents = new Map<string, Content>()
  for (const { path, node } of walk(reader.root))
    if (node.kind === "file") contents.set(path, node.content)
  assert.deepEqual(contents.get("/sparse")?.ranges, [
    { offset: 131_072, size: 65_536 },
    { offset: 851_968, size: 65_536 },
  ])
  assert.deepEqual(contents.get("/only-hole")?.ranges, [])
  for (const { path, node } of walk(sampleTree())) {
    if (node.kind !== "file") continue
    const { size } = node.content
    const got = contents.get(path)
    for (let i = 0; i < 20; i += 1) {
      const from = Math.floor((size * ((i * 7) % 20)) / 20)
      const length = Math.min(size - from, 1 + i * 4099)
      const [want, have] = [new Uint8Array(length), new Uint8Array(length)]
      node.content.read(want, from)
      got?.read(have, from)
      assert.ok(Buffer.from(want).equals(have), `${path} ${from}+${length}`)
    }
    assert.throws(() => got?.read(new Uint8Array(1), size), TypeError)
  }
})

test("files over 4 GiB and their holes", () => {
  const end = 5 * 2 ** 30 + 77
  const data = bytesOfSeed(100_000, 3)
  const content = sparse(
    end,
    [
      [70_000, data],
      [end - data.length, data],
    ],
    true,
  )
  const written = write(directory([["huge", file(content)]]))
  assert.ok(written.imageSize < 1_000_000)
  const reader = open(image(written))
  checkBinfs(reader)
  const [huge] = reader.root.children.values()
  assert.ok(huge?.kind === "file")
  assert.equal(huge.content.size, end)
  const have = new Uint8Array(data.length)
  huge.content.read(have, end - data.length)
  assert.ok(Buffer.from(data).equals(have))
  huge.content.read(have, 70_000)
  assert.ok(Buffer.from(data).equals(have))
  assert.ok(write(reader.root).bytes.equals(written.bytes))
})

test("a directory of 100,000 entries, by tree and by number", () => {
  const names = Array.from({ length: 100_000 }, (_, i) => `file number ${i}`)
  const tree = directory(names.map((name, i) => [name, symlink(`to ${i}`)]))
  const written = write(tree)
  const reader = open(image(written))
  checkBinfs(reader)
  assert.equal(treeDigest(reader.root), treeDigest(tree))
  const root = reader.stat(reader.rootNid)
  const found = reader.lookUp(root, utf8OfByteString("file number 77777"))
  assert.ok(found !== undefined)
  assert.equal(reader.readLink(found), "to 77777")
  assert.equal(reader.lookUp(root, utf8OfByteString("file number 100000")), undefined)
})

test("an empty tree, and xattrs larger than a block on every kind", () => {
  const xattrs = [xattr("user.a", bytesOfSeed(3000, 1)), xattr("user.b", bytesOfSeed(60_000, 2))]
  for (const tree of [
    directory([]),
    directory([], { xattrs }),
    directory([
      ["d", directory([["x", symlink("y", { xattrs })]], { xattrs })],
      ["e", directory([["f", file(bytesOfSeed(100, 1), { xattrs })]])],
      ["g", file(sparse(100_000, [], true), { xattrs: xattrs.slice(0, 1) })],
      ["h", { kind: "fifo", meta: meta({ xattrs: xattrs.slice(0, 1) }) }],
      ["i", symlink("z".repeat(2000), { xattrs: xattrs.slice(0, 1) })],
    ]),
  ]) {
    const written = write(tree)
    const reader = open(image(written))
    checkBinfs(reader)
    assert.equal(treeDigest(reader.root), treeDigest(tree))
  }
})

test("what the format cannot hold, or overlayfs would interpret, is refused by name", () => {
  const refused: readonly (readonly [DirectoryNode, RegExp])[] = [
    [
      directory([["w", { kind: "character", meta: meta(), major: 0, minor: 0 }]]),
      /^\/w: wanted no character device 0:0/,
    ],
    [
      directory([
        [
          "o",
          file(new Uint8Array(0), { xattrs: [xattr("trusted.overlay.opaque", bytesOfSeed(1, 1))] }),
        ],
      ]),
      /^\/o: .*trusted\.overlay\.opaque/,
    ],
    [
      directory([], { xattrs: [xattr("user.overlay.x", bytesOfSeed(1, 1))] }),
      /^\/: .*user\.overlay\.x/,
    ],
    [directory([["d", { kind: "block", meta: meta(), major: 4096, minor: 0 }]]), /^\/d: .*4096:0/],
    [
      directory([
        ["x", file(new Uint8Array(0), { xattrs: [xattr("system.nfs4_acl", bytesOfSeed(1, 1))] })],
      ]),
      /system\.nfs4_acl/,
    ],
    [
      directory([["x", file(new Uint8Array(0), { xattrs: [xattr("user.", bytesOfSeed(1, 1))] })]]),
      /xattrs of user/,
    ],
    [
      directory([
        ["x", file(new Uint8Array(0), { xattrs: [xattr("user.x", new Uint8Array(65_536))] })],
      ]),
      /65535 bytes/,
    ],
    [directory([["a/b", file(new Uint8Array(0))]]), /names of 1 to 255 bytes/],
    [directory([["n".repeat(256), file(new Uint8Array(0))]]), /names of 1 to 255 bytes/],
    [directory([["s", symlink("")]]), /targets of 1 to/],
  ]
  for (const [tree, pattern] of refused)
    assert.throws(
      () => write(tree),
      (error) =>
        error instanceof CofferError && error.code === "config" && pattern.test(error.message),
      String(pattern),
    )
})
