import { createHash, type Hash } from "node:crypto"
import { type ByteString, bytesOf, toHex } from "../bytes/index.ts"
import { readPieces } from "./content.ts"
import type { DirectoryNode, FileNode, Metadata, TreeNode } from "./model.ts"
import { walk } from "./walk.ts"

/**
 * The tree as text, one line a place in the order of `walk`; equal trees have equal lines, and different trees
 * different ones. Fields, with a space between: path, kind, mode, uid, gid, mtime, size or device numbers or `-`, target
 * or SHA-256 of the content or `-`, path of the hard link group's first place or `-`, xattrs as `name=hex` or `-`.
 * Where holes are is no property of a tree here: they read as zeros.
 */
export function* dumpTree(root: DirectoryNode): Generator<string> {
  const firstPlaces = new Map<TreeNode, ByteString>()
  for (const { path, node } of walk(root)) {
    const first = firstPlaces.get(node)
    if (first === undefined && node.kind !== "directory") firstPlaces.set(node, path)
    yield lineOf(path, node, first)
  }
}

/** SHA-256 in hex over the lines of `dumpTree`, each with a newline. */
export function treeDigest(root: DirectoryNode): string {
  const hash = createHash("sha256")
  for (const line of dumpTree(root)) hash.update(`${line}\n`, "latin1")
  return hash.digest("hex")
}

function lineOf(path: ByteString, node: TreeNode, first: ByteString | undefined): string {
  const { mode, uid, gid, mtime, xattrs }: Metadata = node.meta
  const time = `${mtime.seconds}.${String(mtime.nanoseconds).padStart(9, "0")}`
  const attributes = xattrs.map(({ name, value }) => `${escaped(name)}=${toHex(value)}`).join(",")
  const linked = first === undefined ? "-" : escaped(first)
  const [size, what] = first === undefined ? specifics(node) : ["-", "-"]
  const owner = `${mode.toString(8).padStart(4, "0")} ${uid} ${gid} ${time}`
  return `${escaped(path)} ${node.kind} ${owner} ${size} ${what} ${linked} ${attributes || "-"}`
}

function specifics(node: TreeNode): readonly [size: string, what: string] {
  switch (node.kind) {
    case "file":
      return [String(node.content.size), contentDigest(node)]
    case "symlink":
      return [String(node.target.length), escaped(node.target)]
    case "block":
    case "character":
      return [`${node.major}:${node.minor}`, "-"]
    case "directory":
    case "fifo":
    case "socket":
      return ["-", "-"]
  }
}

function contentDigest({ content }: FileNode): string {
  const hash: Hash = createHash("sha256")
  for (const { bytes } of readPieces(content, { offset: 0, size: content.size })) hash.update(bytes)
  return hash.digest("hex")
}

// Bytes that would end a field, and all that are not printable ASCII.
const unsafe = /[^\x21-\x7e]|[\\,=]/g

function escaped(text: ByteString): string {
  return text.replace(unsafe, (char) => `\\x${toHex(bytesOf(char as ByteString))}`)
}
