import type { ByteString } from "../bytes/index.ts"
import {
  type Content,
  type DataRange,
  type DirectoryNode,
  type Metadata,
  maxDepth,
  type TreeNode,
} from "../tree/index.ts"
import { chunkSizeFor, damaged, decodeDevice, noBlock } from "./format.ts"
import type { Place } from "./image.ts"
import type { BinfsReader } from "./reader.ts"

export interface TreeContext {
  readonly reader: BinfsReader
  /** Nodes with several names: each is one object. */
  readonly linked: Map<number, TreeNode>
}

export class LazyDirectory implements DirectoryNode {
  readonly kind = "directory"
  readonly meta: Metadata
  readonly #context: TreeContext
  readonly #place: Place
  readonly #depth: number
  #children: ReadonlyMap<ByteString, TreeNode> | undefined

  constructor(context: TreeContext, place: Place, depth: number) {
    if (place.inode.kind !== "directory")
      throw damaged("root", "a directory", place.inode.kind, { nid: place.nid })
    // Nothing that walks a tree may run out of stack.
    if (depth > maxDepth + 1) throw damaged("tree", `a depth up to ${maxDepth}`, "more")
    this.#context = context
    this.#place = place
    this.#depth = depth
    this.meta = metadataOf(context.reader, place)
  }

  get children(): ReadonlyMap<ByteString, TreeNode> {
    this.#children ??= this.#read()
    return this.#children
  }

  #read(): ReadonlyMap<ByteString, TreeNode> {
    const { reader } = this.#context
    const children = new Map<ByteString, TreeNode>()
    for (const [name, entry] of reader.list(this.#place).byName) {
      const place = reader.enter(this.#place, entry)
      const node =
        place.inode.kind === "directory"
          ? new LazyDirectory(this.#context, place, this.#depth + 1)
          : leafOf(this.#context, place)
      children.set(name, node)
    }
    return children
  }
}

function leafOf(context: TreeContext, place: Place): TreeNode {
  const known = context.linked.get(place.nid)
  if (known !== undefined) return known
  const node = freshLeaf(context.reader, place)
  if (place.inode.linkCount > 1) context.linked.set(place.nid, node)
  return node
}

function freshLeaf(reader: BinfsReader, place: Place): TreeNode {
  const meta = metadataOf(reader, place)
  const { kind, u } = place.inode
  switch (kind) {
    case "file":
      return { kind, meta, content: new BinfsContent(reader, place) }
    case "symlink":
      return { kind, meta, target: reader.readLink(place) }
    case "block":
    case "character":
      return { kind, meta, ...decodeDevice(u) }
    case "fifo":
    case "socket":
      return { kind, meta }
    case "directory":
      throw new TypeError("a directory is no leaf")
  }
}

function metadataOf(reader: BinfsReader, place: Place): Metadata {
  const { mode, uid, gid, seconds, nanoseconds } = place.inode
  return { mode, uid, gid, mtime: { seconds, nanoseconds }, xattrs: reader.xattrs(place) }
}

class BinfsContent implements Content {
  readonly size: number
  readonly #reader: BinfsReader
  readonly #place: Place

  constructor(reader: BinfsReader, place: Place) {
    this.size = place.inode.size
    this.#reader = reader
    this.#place = place
  }

  get ranges(): readonly DataRange[] {
    if (this.size === 0) return []
    if (this.#place.inode.layout !== "chunks") return [{ offset: 0, size: this.size }]
    return rangesOf(this.#reader.chunks(this.#place), this.size)
  }

  read(target: Uint8Array, position: number): void {
    this.#reader.read(this.#place, target, position)
  }
}

function rangesOf(map: Uint32Array, size: number): readonly DataRange[] {
  const chunkSize = chunkSizeFor(size)
  const ranges: DataRange[] = []
  for (let i = 0; i < map.length; ) {
    const first = i
    while (i < map.length && map[i] !== noBlock) i += 1
    if (i > first) {
      const offset = first * chunkSize
      ranges.push({ offset, size: Math.min(i * chunkSize, size) - offset })
    }
    while (i < map.length && map[i] === noBlock) i += 1
  }
  return ranges
}
