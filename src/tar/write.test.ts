import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { meta, sparseContent } from "../../test/support/sample-tree.ts"
import { type ByteString, byteString, concatBytes, tableFaults } from "../bytes/index.ts"
import {
  type Content,
  contentOfBytes,
  type DirectoryNode,
  dumpTree,
  type LeafNode,
  type Metadata,
  TreeBuilder,
} from "../tree/index.ts"
import { aclFromText, aclToText } from "./acl.ts"
import { blockSize, headerTable, parseNumber } from "./header.ts"
import { treeFromTar, writeTar } from "./index.ts"

test("the header's fields touch and add up", () => {
  assert.deepEqual(tableFaults(headerTable, blockSize), [])
})

function number(text: string): number | undefined {
  return parseNumber(Buffer.from(text, "latin1"))
}

test("numbers: octal with spaces and NULs, base-256 with a sign, nothing else", () => {
  assert.equal(number("0000644\0"), 0o644)
  assert.equal(number("  644 \0"), 0o644)
  assert.equal(number("\0\0\0\0"), 0)
  assert.equal(number("\x80\0\0\x01\0"), 256)
  assert.equal(number("\xff\xff\xff\xfe"), -2)
  assert.equal(number("\x80\x1f\xff\xff\xff\xff\xff\xff"), 2 ** 53 - 1)
  for (const text of [
    "8",
    "-1",
    "0x1",
    "1 1",
    "6\x004",
    "\x80\x20\0\0\0\0\0\0",
    "\x81\0\0",
    "+1",
  ]) {
    assert.equal(number(text), undefined, JSON.stringify(text))
  }
})

test("an ACL's text gives the same bytes back, or there is none", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (value) => {
      const text = aclToText(value)
      if (text !== undefined) assert.deepEqual(aclFromText(text), value)
    }),
  )
})

const bytes = fc.uint8Array({ maxLength: 300 }).map((value) => byteString(value))
const name = fc
  .oneof(
    fc.uint8Array({ minLength: 1, maxLength: 12 }),
    fc.uint8Array({ minLength: 90, maxLength: 255 }),
  )
  .map((value) => byteString(value.map((byte) => (byte === 0 || byte === 0x2f ? 0x61 : byte))))
  .filter((text) => text !== "." && text !== "..")

const metadata: fc.Arbitrary<Metadata> = fc.record({
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.oneof(fc.nat(2000), fc.integer({ min: 0, max: 0xfffffffe })),
  gid: fc.integer({ min: 0, max: 0xfffffffe }),
  mtime: fc.record({
    seconds: fc.oneof(fc.integer({ min: -(10 ** 11), max: 10 ** 11 }), fc.nat()),
    nanoseconds: fc.oneof(fc.constant(0), fc.nat(999_999_999)),
  }),
  xattrs: fc
    .uniqueArray(fc.tuple(fc.constantFrom("user.", "trusted."), name, fc.uint8Array()), {
      selector: ([space, own]) => space + own,
      maxLength: 3,
    })
    .map((list) =>
      list
        .map(([space, own, value]) => ({
          name: `${space}${own.slice(0, 200)}` as ByteString,
          value,
        }))
        .toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    )
    .filter((list) => list.every((xattr, i) => xattr.name !== list[i + 1]?.name)),
})

const content: fc.Arbitrary<Content> = fc.oneof(
  fc.uint8Array({ maxLength: 1500 }).map((data) => contentOfBytes(data)),
  fc
    .array(
      fc.tuple(fc.integer({ min: 1, max: 2000 }), fc.uint8Array({ minLength: 1, maxLength: 700 })),
      { maxLength: 4 },
    )
    .chain((pieces) => fc.nat(1000).map((tail) => contentOfPieces(pieces, tail))),
)

function contentOfPieces(
  pieces: readonly (readonly [number, Uint8Array])[],
  tail: number,
): Content {
  const placed: [number, Uint8Array][] = []
  let at = 0
  for (const [gap, data] of pieces) {
    placed.push([at + gap, data])
    at += gap + data.length
  }
  return sparseContent(at + tail, placed)
}

const leaf: fc.Arbitrary<LeafNode> = fc.oneof(
  fc.record({ kind: fc.constant("file"), meta: metadata, content }),
  fc.record({
    kind: fc.constant("symlink"),
    meta: metadata.map((own) => ({ ...own, mode: 0o777 })),
    target: bytes.map((text) => `${text.replaceAll("\0", "0")}x` as ByteString),
  }),
  fc.record({ kind: fc.constantFrom("fifo", "socket"), meta: metadata }),
  fc.record({
    kind: fc.constantFrom("block", "character"),
    meta: metadata,
    major: fc.nat(0xfff),
    minor: fc.nat(0xfffff),
  }),
)

const tree: fc.Arbitrary<DirectoryNode> = fc
  .uniqueArray(fc.tuple(fc.array(name, { minLength: 1, maxLength: 4 }), fc.oneof(leaf, metadata)), {
    selector: ([path]) => path.join("/"),
    maxLength: 8,
  })
  .map((places) => {
    const builder = new TreeBuilder({ duplicates: "replace", parentSymlinks: "refuse" })
    for (const [path, what] of places) {
      // As directories under "d" and leaves under "l", nothing stands on the way of another.
      const own = path.join("/")
      if ("kind" in what) builder.put(`l/${path.join("")}`.slice(0, 250) as ByteString, what)
      else builder.putDirectory(`d/${own}` as ByteString, what)
    }
    return builder.finish()
  })

function tarBytes(root: DirectoryNode): Uint8Array {
  const parts: Uint8Array[] = []
  writeTar(root, (part) => parts.push(Uint8Array.from(part)))
  return concatBytes(...parts)
}

test("any tree comes back from its tar, and gives the same tar again", () => {
  fc.assert(
    fc.property(tree, (root) => {
      const tar = tarBytes(root)
      const back = treeFromTar(contentOfBytes(tar))
      assert.deepEqual([...dumpTree(back)], [...dumpTree(root)])
      assert.deepEqual(tarBytes(back), tar)
    }),
    { numRuns: 150 },
  )
})

test("a file over 8 GiB, which no octal field can tell", () => {
  const size = 9 * 2 ** 30
  const large: Content = { size, ranges: [{ offset: 0, size }], read: () => undefined }
  const builder = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  builder.put("large" as ByteString, { kind: "file", meta: meta(), content: large })
  builder.put("later" as ByteString, { kind: "fifo", meta: meta() })
  const chunks: { readonly at: number; readonly bytes: Uint8Array }[] = []
  let at = 0
  writeTar(builder.finish(), (part) => {
    // The content is zeros; all else is small.
    if (part.length <= 4096) chunks.push({ at, bytes: Uint8Array.from(part) })
    at += part.length
  })
  const source = {
    size: at,
    read(target: Uint8Array, position: number): void {
      target.fill(0)
      for (const own of chunks) {
        const [from, to] = [position - own.at, position + target.length - own.at]
        if (to <= 0 || from >= own.bytes.length) continue
        target.set(own.bytes.subarray(Math.max(0, from), to), Math.max(0, -from))
      }
    },
  }
  const back = treeFromTar(source)
  const found = back.children.get("large" as ByteString)
  assert.ok(found?.kind === "file")
  assert.equal(found.content.size, size)
  assert.equal(back.children.get("later" as ByteString)?.kind, "fifo")
})
