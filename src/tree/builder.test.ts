import assert from "node:assert/strict"
import { test } from "node:test"
import { meta } from "../../test/support/sample-tree.ts"
import type { ByteString } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import {
  contentOfBytes,
  type DirectoryNode,
  dumpTree,
  emptyContent,
  type LeafNode,
  TreeAllowance,
  TreeBuilder,
  treeDigest,
} from "./index.ts"

const strict = { duplicates: "refuse", parentSymlinks: "refuse" } as const
const layer = { duplicates: "replace", parentSymlinks: "resolve" } as const

function p(path: string): ByteString {
  return path as ByteString
}

function file(text = ""): LeafNode {
  return { kind: "file", meta: meta(), content: contentOfBytes(Buffer.from(text)) }
}

function symlink(target: string): LeafNode {
  return { kind: "symlink", meta: meta({ mode: 0o777 }), target: p(target) }
}

function paths(tree: DirectoryNode): string[] {
  return [...dumpTree(tree)].map((line) => line.split(" ")[0] ?? "")
}

function refuses(reason: string): (error: unknown) => boolean {
  return (error) =>
    error instanceof CofferError && error.code === "config" && error.reason === reason
}

test("paths are the same with and without slashes around them", () => {
  const tree = new TreeBuilder(strict)
  tree.put(p("/a/b"), file())
  assert.equal(tree.get(p("a/b")), tree.get(p("/a/b/")))
  assert.throws(() => tree.put(p("a/b"), file()), refuses("duplicate"))
  for (const path of ["a//b", "//a", "a/../b", ".", "a/.", "a\0b", `/${"n".repeat(256)}`]) {
    assert.throws(() => tree.put(p(path), file()), refuses("bad-name"), path)
  }
  assert.throws(() => tree.put(p("d/".repeat(1024) + "d"), file()), refuses("too-deep"))
})

test("symlinks on the way are followed within the root only", () => {
  const tree = new TreeBuilder(layer)
  tree.put(p("usr/lib/keep"), file())
  tree.put(p("lib"), symlink("usr/lib"))
  tree.put(p("out"), symlink("../../../etc"))
  tree.put(p("absolute"), symlink("/usr/./lib/"))
  tree.put(p("usr/up"), symlink("../usr/lib"))
  tree.put(p("lib/a"), file())
  tree.put(p("out/b"), file())
  tree.put(p("absolute/c"), file())
  tree.put(p("usr/up/d"), file())
  assert.equal(tree.get(p("lib/keep")), tree.get(p("usr/lib/keep")))
  assert.ok(tree.remove(p("absolute/keep")))
  assert.ok(!tree.remove(p("absolute/keep")))
  const found = paths(tree.finish())
  assert.deepEqual(found, [
    "/",
    "/absolute",
    "/etc",
    "/etc/b",
    "/lib",
    "/out",
    "/usr",
    "/usr/lib",
    "/usr/lib/a",
    "/usr/lib/c",
    "/usr/lib/d",
    "/usr/up",
  ])
})

test("symlinks that never end are refused", () => {
  const tree = new TreeBuilder(layer)
  tree.put(p("a"), symlink("b"))
  tree.put(p("b"), symlink("a"))
  tree.put(p("grows"), symlink(`grows/${"x/".repeat(2000)}`))
  assert.throws(() => tree.put(p("a/x"), file()), refuses("symlink-loop"))
  assert.throws(() => tree.put(p("grows/x"), file()), refuses("symlink-loop"))
  assert.throws(() => tree.get(p("a/x")), refuses("symlink-loop"))
  tree.put(p("deep"), symlink("y/".repeat(1100)))
  assert.throws(() => tree.put(p("deep/x"), file()), refuses("too-deep"))
  tree.put(p("long"), symlink("n".repeat(300)))
  assert.throws(() => tree.put(p("long/x"), file()), refuses("bad-name"))
})

test("the later entry wins in a layer; a directory keeps its children under another", () => {
  const tree = new TreeBuilder(layer)
  tree.put(p("d/a"), file())
  tree.putDirectory(p("d"), meta({ mode: 0o700 }))
  assert.ok(tree.get(p("d/a")) !== undefined)
  tree.put(p("d"), file("file"))
  assert.equal(tree.get(p("d/a")), undefined)
  tree.putDirectory(p("d"), meta({ mode: 0o711 }))
  assert.equal(tree.get(p("d"))?.meta.mode, 0o711)
  assert.throws(() => tree.put(p("/"), file()), refuses("conflict"))
})

test("clear empties a directory, and says when there is none", () => {
  const tree = new TreeBuilder(layer)
  tree.put(p("d/e/f"), file())
  tree.put(p("g"), file())
  assert.ok(tree.clear(p("d")))
  assert.ok(!tree.clear(p("none")))
  assert.ok(!tree.clear(p("g")))
  assert.throws(() => tree.remove(p("/")), refuses("bad-path"))
  assert.deepEqual(paths(tree.finish()), ["/", "/d", "/g"])
})

test("a base tree stays as it is", () => {
  const first = new TreeBuilder(layer)
  first.put(p("d/e/f"), file("old"))
  first.put(p("d/g"), file())
  const base = first.finish()
  const before = treeDigest(base)
  const second = new TreeBuilder(layer, base)
  second.put(p("d/e/f"), file("new"))
  second.remove(p("d/g"))
  second.link(p("d/h"), p("d/e/f"))
  second.putDirectory(p("d/e"), meta({ mode: 0o700 }))
  second.putDirectory(p("/"), meta({ mode: 0o711 }))
  assert.equal(treeDigest(base), before)
  assert.deepEqual(paths(second.finish()), ["/", "/d", "/d/e", "/d/e/f", "/d/h"])
})

test("the number of places is limited, implied parents included", () => {
  const allowance = new TreeAllowance()
  allowance.places = 3
  const tree = new TreeBuilder({ ...strict, allowance })
  tree.put(p("a/b/c"), file())
  assert.throws(() => tree.put(p("d"), file()), refuses("too-many"))
})

test("bytes of names, targets and xattrs are limited, for all builders that share an allowance", () => {
  const allowance = new TreeAllowance()
  allowance.bytes = 11
  const xattrs = [{ name: p("user.a"), value: new Uint8Array(3) }]
  new TreeBuilder({ ...strict, allowance }).putDirectory(p("a"), meta({ xattrs }))
  const tree = new TreeBuilder({ ...strict, allowance })
  tree.put(p("b"), file())
  assert.throws(() => tree.put(p("c"), file()), refuses("too-many"))
})

test("the work for symlinks on the way is limited", () => {
  const allowance = new TreeAllowance()
  allowance.followed = 250
  const options = { duplicates: "replace", parentSymlinks: "resolve", allowance } as const
  const tree = new TreeBuilder(options)
  tree.put(p("l"), { kind: "symlink", meta: meta(), target: p("../x/../".repeat(30)) })
  tree.put(p("l/a"), file())
  tree.put(p("l/b"), file())
  assert.throws(() => tree.put(p("l/c"), file()), refuses("symlink-loop"))
})

test("a finished builder takes no more", () => {
  const tree = new TreeBuilder(strict)
  tree.finish()
  assert.throws(() => tree.put(p("a"), file()), TypeError)
  assert.throws(() => tree.putDirectory(p("/"), meta()), TypeError)
})

function dump(build: (tree: TreeBuilder) => void): string {
  const tree = new TreeBuilder(strict)
  build(tree)
  return treeDigest(tree.finish())
}

test("the dump tells apart what is different", () => {
  const node = { kind: "file", meta: meta(), content: emptyContent } as const
  const xattrs = [{ name: p("user.a"), value: new Uint8Array(0) }]
  const digests = [
    dump((tree) => tree.put(p("a"), node)),
    dump((tree) => tree.put(p("b"), node)),
    dump((tree) => tree.put(p("a"), { ...node, meta: meta({ mode: 0 }) })),
    dump((tree) => tree.put(p("a"), { ...node, meta: meta({ uid: 1 }) })),
    dump((tree) => tree.put(p("a"), { ...node, meta: meta({ gid: 1 }) })),
    dump((tree) => tree.put(p("a"), { ...node, meta: meta({ xattrs }) })),
    dump((tree) => tree.put(p("a"), file("x"))),
    dump((tree) => tree.put(p("a"), symlink("-"))),
    dump((tree) => tree.put(p("a"), { kind: "fifo", meta: meta() })),
    dump((tree) => tree.put(p("a - x"), node)),
    dump((tree) => {
      tree.put(p("a"), node)
      tree.put(p("b"), { ...node })
    }),
    dump((tree) => {
      tree.put(p("a"), node)
      tree.link(p("b"), p("a"))
    }),
  ]
  assert.equal(new Set(digests).size, digests.length)
})
