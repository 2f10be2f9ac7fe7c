import assert from "node:assert/strict"
import { test } from "node:test"
import {
  type ByteString,
  byteString,
  bytesOf,
  concatBytes,
  displayName,
  utf8,
  utf8OfByteString,
} from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { writeTar } from "../tar/index.ts"
import {
  contentOfBytes,
  type DirectoryNode,
  type Metadata,
  plainDirectory,
  TreeBuilder,
  type TreeNode,
  walk,
} from "../tree/index.ts"
import { applyLayer } from "./layers.ts"

const plainFile: Metadata = { ...plainDirectory, mode: 0o644 }

/** A tar of a tree given as path → text (a file), `undefined` (a directory), or a node. */
function layer(
  paths: Readonly<Record<string, string | TreeNode | undefined>>,
): ReturnType<typeof contentOfBytes> {
  const tree = new TreeBuilder({ duplicates: "replace", parentSymlinks: "resolve" })
  for (const [path, what] of Object.entries(paths)) {
    const at = utf8OfByteString(path)
    if (what === undefined) tree.putDirectory(at, plainDirectory)
    else if (typeof what === "string")
      tree.put(at, { kind: "file", meta: plainFile, content: contentOfBytes(utf8(what)) })
    else if (what.kind !== "directory") tree.put(at, what)
  }
  const parts: Uint8Array[] = []
  writeTar(tree.finish(), (part) => void parts.push(Uint8Array.from(part)))
  return contentOfBytes(concatBytes(...parts))
}

function textOf(node: TreeNode): string {
  if (node.kind === "symlink") return `-> ${displayName(node.target)}`
  if (node.kind !== "file") return node.kind
  const bytes = new Uint8Array(node.content.size)
  node.content.read(bytes, 0)
  return Buffer.from(bytes).toString("utf8")
}

function apply(...layers: readonly Parameters<typeof layer>[0][]): Record<string, string> {
  let root: DirectoryNode | undefined
  for (const paths of layers) root = applyLayer(root, layer(paths))
  assert.ok(root)
  const found = [...walk(root)].map(({ path, node }) => [displayName(path), textOf(node)] as const)
  return Object.fromEntries(found.filter(([path]) => path !== "/"))
}

test("a later layer adds, replaces and removes", () => {
  assert.deepEqual(
    apply({ "a/x": "1", "a/y": "1", b: "1" }, { "a/x": "2", "a/.wh.y": "", c: "2" }),
    {
      "/a": "directory",
      "/a/x": "2",
      "/b": "1",
      "/c": "2",
    },
  )
})

test("an opaque directory hides what lower layers have, never what its own layer has", () => {
  const upper = { "d/.wh..wh..opq": "", "d/a-first": "2", "d/zz-last": "2" }
  assert.deepEqual(apply({ "d/old": "1", "d/sub/deep": "1" }, upper), {
    "/d": "directory",
    "/d/a-first": "2",
    "/d/zz-last": "2",
  })
  assert.deepEqual(apply({ old: "1" }, { ".wh..wh..opq": "", new: "2" }), { "/new": "2" })
})

test("a whiteout does not hide a file of its own layer, in whichever order they stand", () => {
  assert.deepEqual(apply({ f: "1" }, { ".wh.f": "", f: "2" }), { "/f": "2" })
})

test("file over directory, directory over file, whiteout of what is not there", () => {
  assert.deepEqual(apply({ "d/x": "1" }, { d: "2" }), { "/d": "2" })
  assert.deepEqual(apply({ d: "1" }, { "d/x": "2" }), { "/d": "directory", "/d/x": "2" })
  assert.deepEqual(apply({ a: "1" }, { ".wh.none": "", "no/.wh.such": "" }), {
    "/a": "1",
    "/no": "directory",
  })
})

function link(target: string): TreeNode {
  return { kind: "symlink", meta: plainFile, target: utf8OfByteString(target) }
}

test("symlinks are followed inside the image only", () => {
  assert.deepEqual(
    apply({ "real/keep": "1", way: link("/real") }, { way: undefined, "way/x": "2" })["/way/x"],
    "2",
  )
  const out = apply({ escape: link("../../../../etc") }, { escape2: "2" })
  assert.equal(out["/escape"], "-> ../../../../etc")
})

test("aufs leftovers are dropped, a whiteout that names nothing is refused", () => {
  assert.deepEqual(apply({ a: "1", ".wh..wh.plnk": "x" }), { "/a": "1" })
  for (const name of [".wh.", ".wh..", ".wh..."]) {
    assert.throws(
      () => apply({ a: "1" }, { [name]: "" }),
      (error) => error instanceof CofferError && error.code === "config",
      name,
    )
  }
})

test("names of any bytes, and hard links across layers", () => {
  const name = byteString(new Uint8Array([0x2f, 0xff, 0xfe]))
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  tree.put(name, { kind: "file", meta: plainFile, content: contentOfBytes(utf8("odd")) })
  tree.link("/again" as ByteString, name)
  const parts: Uint8Array[] = []
  writeTar(tree.finish(), (part) => void parts.push(Uint8Array.from(part)))
  const base = applyLayer(undefined, contentOfBytes(concatBytes(...parts)))
  const root = applyLayer(base, layer({ ".wh.again": "" }))
  const [only, ...none] = [...root.children.keys()]
  assert.deepEqual(bytesOf(only ?? ("" as ByteString)), Buffer.from([0xff, 0xfe]))
  assert.equal(none.length, 0)
})
