import { alignUp, type ByteString, bytesOf, concatBytes, utf8 } from "../bytes/index.ts"
import {
  badPath,
  type Content,
  type DirectoryNode,
  dataSize,
  isWholeData,
  type OnProgress,
  readPieces,
  type TreeNode,
  walk,
} from "../tree/index.ts"
import { blockSize } from "./header.ts"
import { encodeHeader } from "./header-write.ts"
import type { Member } from "./member.ts"
import { encodePax, paxRecordsOf } from "./pax-write.ts"
import { maxExtensionSize } from "./reader.ts"

/** Takes the bytes of the tar in order. It must be done with `bytes` when it returns: the buffer is used again. */
export type TarSink = (bytes: Uint8Array) => void

/**
 * Writes a tree as a PAX tar: a function of the tree alone, in the order of `walk`. It keeps everything of the model, in
 * the records that GNU tar and libarchive read; holes as GNU.sparse 1.0. Tars have no sockets: they become fifos with
 * star's record of the real type, which `readTar` understands.
 */
export function writeTar(root: DirectoryNode, sink: TarSink, onProgress?: OnProgress): void {
  const total = onProgress === undefined ? 0 : dataSize(root)
  const firstPlaces = new Map<TreeNode, ByteString>()
  let done = 0
  const data: TarSink = (bytes) => {
    sink(bytes)
    done += bytes.length
    onProgress?.(done, total)
  }
  for (const { path, node } of walk(root)) {
    const name = path.slice(1) as ByteString
    const first = firstPlaces.get(node)
    if (first !== undefined) {
      sink(memberHead({ name, node, type: "1", linkName: first, size: 0, extra: [] }))
      continue
    }
    if (node.kind !== "directory") firstPlaces.set(node, name)
    if (node.kind === "file") writeFile(name, node, sink, data)
    else sink(memberHead(plainMember(name, node)))
  }
  sink(new Uint8Array(2 * blockSize))
}

/** What stands in the tar of a tree before and behind the data of its only file, when that is whole; the data is the caller's. */
export function tarAround(root: DirectoryNode): {
  readonly head: Uint8Array
  readonly tail: Uint8Array
} {
  const head: Uint8Array[] = []
  const tail: Uint8Array[] = []
  for (const { path, node } of walk(root)) {
    const name = path.slice(1) as ByteString
    const part = tail.length === 0 ? head : tail
    if (node.kind !== "file") {
      part.push(memberHead(plainMember(name, node)))
      continue
    }
    const { size } = node.content
    if (part === tail) throw new TypeError("wanted one file")
    head.push(memberHead({ name, node, type: "0", linkName: "" as ByteString, extra: [], size }))
    tail.push(padding(size))
  }
  return { head: concatBytes(...head), tail: concatBytes(...tail, new Uint8Array(2 * blockSize)) }
}

function plainMember(name: ByteString, node: Exclude<TreeNode, { kind: "file" }>): Member {
  const member = { name, node, linkName: "" as ByteString, size: 0, extra: [] }
  switch (node.kind) {
    case "directory":
      return { ...member, name: (name === "" ? "./" : `${name}/`) as ByteString, type: "5" }
    case "symlink":
      return { ...member, type: "2", linkName: node.target }
    case "character":
      return { ...member, type: "3" }
    case "block":
      return { ...member, type: "4" }
    case "fifo":
      return { ...member, type: "6" }
    case "socket":
      return { ...member, type: "6", extra: [{ key: "SCHILY.filetype", value: utf8("socket") }] }
  }
}

function memberHead(member: Member): Uint8Array {
  const records = encodePax(paxRecordsOf(member))
  const header = encodeHeader(member)
  if (records.length === 0) return header
  if (records.length > maxExtensionSize) {
    const wanted = `xattrs and names up to ${maxExtensionSize} bytes`
    throw badPath(member.name, "too-large", wanted, `${records.length} bytes`)
  }
  const own = { ...member, type: "x", size: records.length }
  return concatBytes(encodeHeader(own), records, padding(records.length), header)
}

function writeFile(
  name: ByteString,
  node: TreeNode & { kind: "file" },
  sink: TarSink,
  data: TarSink,
): void {
  const { content } = node
  const member = { name, node, type: "0", linkName: "" as ByteString, extra: [] }
  if (isWholeData(content.size, content.ranges)) {
    sink(memberHead({ ...member, size: content.size }))
  } else {
    const map = sparseMap(content)
    const size = map.length + content.ranges.reduce((sum, range) => sum + range.size, 0)
    const extra = [
      { key: "GNU.sparse.major", value: utf8("1") },
      { key: "GNU.sparse.minor", value: utf8("0") },
      { key: "GNU.sparse.name", value: bytesOf(name) },
      { key: "GNU.sparse.realsize", value: utf8(String(content.size)) },
    ]
    sink(memberHead({ ...member, name: `GNUSparseFile.0/${name}` as ByteString, size, extra }))
    sink(map)
  }
  let size = 0
  for (const range of content.ranges) {
    for (const { bytes } of readPieces(content, range)) data(bytes)
    size += range.size
  }
  if (size % blockSize !== 0) sink(padding(size))
}

// GNU tar ends the map with an empty range at the end of the file, when the file ends with a hole.
function sparseMap({ size, ranges }: Content): Uint8Array {
  const last = ranges.at(-1)
  const pairs = ranges.flatMap(({ offset, size: length }) => [offset, length])
  if (last === undefined || last.offset + last.size < size) pairs.push(size, 0)
  const text = utf8(`${[pairs.length / 2, ...pairs].join("\n")}\n`)
  return concatBytes(text, padding(text.length))
}

function padding(size: number): Uint8Array {
  return new Uint8Array(alignUp(size, blockSize) - size)
}
