import assert from "node:assert/strict"
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { meta, sampleTree, sparseContent } from "../../test/support/sample-tree.ts"
import { type ByteString, byteString } from "../bytes/index.ts"
import { CofferError, type ErrorCode } from "../errors.ts"
import { setXattr } from "../sys/index.ts"
import {
  contentOfBytes,
  type DirectoryNode,
  directorySource,
  dumpTree,
  emptyContent,
  extractTree,
  TreeBuilder,
  type TreeNode,
  treeDigest,
} from "./index.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-tree-"))
after(() => rmSync(folder, { recursive: true, force: true }))
const rootOnly = { skip: process.getuid?.() === 0 ? false : "needs root" }

function fails(code: ErrorCode, message: RegExp): (error: unknown) => boolean {
  return (error) =>
    error instanceof CofferError && error.code === code && message.test(error.message)
}

function child(root: DirectoryNode, name: string): TreeNode {
  const found = root.children.get(name as ByteString)
  assert.ok(found !== undefined, `no ${name}`)
  return found
}

test("what is extracted is read back the same, with its holes and links", rootOnly, () => {
  const tree = sampleTree({ sockets: true })
  const target = join(folder, "same")
  const seen: [number, number | undefined][] = []
  extractTree(tree, target, { onProgress: (done, total) => seen.push([done, total]) })
  const back = directorySource(target)
  assert.deepEqual([...dumpTree(back)], [...dumpTree(tree)])
  assert.equal(treeDigest(back), treeDigest(tree))
  const sparse = child(back, "sparse")
  assert.ok(sparse.kind === "file")
  assert.deepEqual(sparse.content.ranges, [
    { offset: 8192, size: 4096 },
    { offset: 65536, size: 4096 },
  ])
  const hole = child(back, "hole")
  assert.ok(hole.kind === "file")
  assert.deepEqual(hole.content.ranges, [])
  assert.deepEqual(seen.at(-1), [seen.at(-1)?.[1], seen.at(-1)?.[1]])
})

test("a default ACL of the target does not go down into the tree", rootOnly, () => {
  const target = join(folder, "acl")
  mkdirSync(target)
  const acl =
    "0200000001000700ffffffff02000700e803000004000700ffffffff10000700ffffffff20000700ffffffff"
  setXattr(Buffer.from(target), Buffer.from("system.posix_acl_default"), Buffer.from(acl, "hex"))
  const tree = sampleTree({ sockets: true })
  extractTree(tree, target)
  assert.equal(treeDigest(directorySource(target)), treeDigest(tree))
})

test("only a new or an empty directory is extracted to, and no symlink is followed", () => {
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" }).finish()
  const options = { owners: "mine" } as const
  const full = join(folder, "full")
  mkdirSync(full)
  writeFileSync(join(full, "a"), "")
  assert.throws(() => extractTree(tree, full, options), fails("usage", /empty directory/))
  const empty = join(folder, "empty")
  mkdirSync(empty)
  symlinkSync(empty, join(folder, "link"))
  assert.throws(() => extractTree(tree, join(folder, "link"), options), fails("missing", /ENOTDIR/))
  assert.throws(
    () => extractTree(tree, join(folder, "no/such"), options),
    fails("missing", /ENOENT/),
  )
  assert.deepEqual(readdirSync(empty), [])
  extractTree(tree, empty, options)
})

test("owners of the caller drop setuid", () => {
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  const node = {
    kind: "file",
    meta: meta({ mode: 0o4755, uid: 12 }),
    content: emptyContent,
  } as const
  tree.put("a" as ByteString, node)
  extractTree(tree.finish(), join(folder, "mine"), { owners: "mine" })
  const stat = lstatSync(join(folder, "mine/a"))
  assert.equal(stat.mode & 0o7777, 0o755)
  assert.equal(stat.uid, process.getuid?.())
})

test("a directory that is swapped for a symlink meanwhile is not written through", () => {
  const outside = join(folder, "outside")
  const target = join(folder, "swapped")
  mkdirSync(outside)
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  const file = { kind: "file", meta: meta(), content: contentOfBytes(Buffer.from("x")) } as const
  tree.putDirectory("d" as ByteString, meta({ mode: 0o700 }))
  for (const name of ["d/a", "d/b", "d/c"]) tree.put(name as ByteString, { ...file })
  const root = tree.finish()
  const swap = (): void => {
    if (existsSync(join(target, "moved"))) return
    renameSync(join(target, "d"), join(target, "moved"))
    symlinkSync(outside, join(target, "d"))
  }
  extractTree(root, target, { owners: "mine", onProgress: swap })
  assert.deepEqual(readdirSync(outside), [])
  assert.deepEqual(readdirSync(join(target, "moved")), ["a", "b", "c"])
  assert.notEqual(lstatSync(outside).mode & 0o777, 0o700)
  assert.equal(lstatSync(join(target, "moved")).mode & 0o777, 0o700)
})

test("a hard link is not made through a symlink that somebody put in the way", () => {
  const target = join(folder, "swapped-link")
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  const file = { kind: "file", meta: meta(), content: contentOfBytes(Buffer.from("x")) } as const
  tree.put("d/a" as ByteString, file)
  tree.put("e" as ByteString, file)
  const root = tree.finish()
  const swap = (): void => {
    rmSync(join(target, "d"), { recursive: true })
    symlinkSync(folder, join(target, "d"))
  }
  assert.throws(
    () => extractTree(root, target, { owners: "mine", onProgress: swap }),
    (error) => error instanceof CofferError,
  )
})

test("content over 4 GiB keeps its place", () => {
  const target = join(folder, "large")
  const data = Buffer.from("far away")
  const content = sparseContent(5 * 2 ** 30, [[4.5 * 2 ** 30, data]])
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  tree.put("large" as ByteString, { kind: "file", meta: meta(), content })
  extractTree(tree.finish(), target, { owners: "mine" })
  const back = child(directorySource(target), "large")
  assert.ok(back.kind === "file")
  assert.equal(back.content.size, content.size)
  assert.equal(back.content.ranges.length, 1)
  const read = Buffer.alloc(data.length)
  back.content.read(read, 4.5 * 2 ** 30)
  assert.deepEqual(read, data)
})

test("a path longer than PATH_MAX is written and read", () => {
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  const path = `${"n".repeat(200)}/`.repeat(40)
  const file = { kind: "file", meta: meta(), content: contentOfBytes(Buffer.from("deep")) } as const
  tree.put(`${path}a` as ByteString, file)
  tree.put(`${path}b` as ByteString, file)
  extractTree(tree.finish(), join(folder, "deep"), { owners: "mine" })
  const lines = [...dumpTree(directorySource(join(folder, "deep")))]
  assert.equal(lines.length, 43)
  assert.match(lines.at(-1) ?? "", /\/b file .*\/a -$/)
})

test("names in any bytes", () => {
  const target = join(folder, "names")
  mkdirSync(target)
  const names = [...Array(256).keys()].filter(
    (byte) => byte !== 0 && byte !== 0x2f && byte !== 0x2e,
  )
  for (const byte of names) {
    writeFileSync(Buffer.concat([Buffer.from(`${target}/`), Buffer.from([byte])]), "")
  }
  const found = [...directorySource(target).children.keys()].toSorted()
  assert.deepEqual(
    found,
    names.map((byte) => byteString(new Uint8Array([byte]))),
  )
})

test("a file that changes after it was listed is an error, never other bytes", () => {
  const changes: readonly [string, (path: string) => void][] = [
    ["longer", (path) => appendFileSync(path, "x")],
    ["shorter", (path) => truncateSync(path, 10)],
    ["touched", (path) => utimesSync(path, 1, 1)],
    [
      "another",
      (path) => {
        rmSync(path)
        writeFileSync(path, "a".repeat(100))
      },
    ],
    [
      "symlink",
      (path) => {
        rmSync(path)
        symlinkSync("/etc/passwd", path)
      },
    ],
    ["gone", (path) => rmSync(path)],
  ]
  for (const [name, change] of changes) {
    for (const readBefore of [false, true]) {
      const base = join(folder, `changes-${name}-${readBefore}`)
      mkdirSync(base)
      writeFileSync(join(base, "f"), "a".repeat(100))
      const file = child(directorySource(base), "f")
      assert.ok(file.kind === "file")
      if (readBefore) file.content.read(new Uint8Array(10), 0)
      change(join(base, "f"))
      // An unlinked file that is open still has its bytes: no error is right too.
      if (readBefore && ["gone", "another", "symlink"].includes(name)) continue
      assert.throws(
        () => file.content.read(new Uint8Array(100), 0),
        (error) =>
          error instanceof CofferError && (error.code === "io" || error.code === "missing"),
        name,
      )
    }
  }
})

test("reading past the end is misuse", () => {
  writeFileSync(join(folder, "ten"), "0123456789")
  const file = child(directorySource(folder), "ten")
  assert.ok(file.kind === "file")
  assert.throws(() => file.content.read(new Uint8Array(2), 9), TypeError)
  const target = new Uint8Array(3)
  file.content.read(target, 7)
  assert.equal(Buffer.from(target).toString(), "789")
})

test("what is not a directory, or not there, is refused", () => {
  writeFileSync(join(folder, "plain"), "")
  assert.throws(() => directorySource(join(folder, "plain")), fails("missing", /ENOTDIR/))
  assert.throws(() => directorySource(join(folder, "none")), fails("missing", /ENOENT/))
  assert.ok(!existsSync(join(folder, "none")))
})

test("a hundred thousand entries in one directory", () => {
  const target = join(folder, "many")
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  const node = { kind: "fifo", meta: meta() } as const
  for (let i = 0; i < 100_000; i++) tree.put(`many/${i}` as ByteString, { ...node })
  extractTree(tree.finish(), target, { owners: "mine" })
  const back = child(directorySource(target), "many")
  assert.ok(back.kind === "directory")
  assert.equal(back.children.size, 100_000)
})
