import type { ByteString } from "../../bytes/index.ts"
import { CofferError } from "../../errors.ts"
import type { Attributes } from "../../fuse/index.ts"
import type {
  Content,
  DataRange,
  DirectoryNode,
  Metadata,
  TreeNode,
  Xattr,
} from "../../tree/index.ts"
import { extentAt, newExtent } from "./extents.ts"
import { fileTypeMask, itemType, keyOf } from "./keys.ts"
import { answerOf, inodeAt, newAttributes } from "./requests.ts"
import type { VolumeFileSystem } from "./volume-fs.ts"

export interface ExportOptions {
  /** Levels of directories to read; those below are empty. Default all. */
  readonly depth?: number
  /** What is damaged is left out, or zeros, and reported here; without it the first damage is thrown. */
  readonly salvage?: (path: ByteString, error: CofferError) => void
}

/**
 * The tree below a directory of the volume. Names and metadata are read now, contents when they are asked for: the
 * filesystem must stay open and as it is.
 */
export function exportTree(
  fs: VolumeFileSystem,
  from: ByteString,
  options: ExportOptions = {},
): DirectoryNode {
  const inode = inodeAt(fs, from, newAttributes())
  const node = new Export(fs, options).run(inode)
  if (node?.kind !== "directory")
    throw new CofferError("usage", `wanted a directory to export, found ${node?.kind ?? "damage"}`)
  return node
}

interface Entry {
  readonly name: ByteString
  readonly inode: number
}

interface Pending {
  readonly inode: number
  readonly path: ByteString
  readonly children: Map<ByteString, TreeNode>
  readonly depth: number
}

class Export {
  readonly #fs: VolumeFileSystem
  readonly #salvage: ExportOptions["salvage"]
  /** Of the files that may have several names. */
  readonly #linked = new Map<number, TreeNode>()
  readonly #out = newAttributes()
  readonly #todo: Pending[] = []
  #depth: number

  constructor(fs: VolumeFileSystem, options: ExportOptions) {
    this.#fs = fs
    this.#salvage = options.salvage
    this.#depth = options.depth ?? Number.POSITIVE_INFINITY
  }

  run(root: number): TreeNode | undefined {
    const node = this.#attempt("/" as ByteString, () => this.#node(root, "" as ByteString))
    for (let next = this.#todo.pop(); next !== undefined; next = this.#todo.pop()) this.#fill(next)
    return node
  }

  // With salvage, what cannot be read is reported and undefined.
  #attempt<T>(path: ByteString, read: () => T): T | undefined {
    try {
      return read()
    } catch (error) {
      if (this.#salvage === undefined || !(error instanceof CofferError)) throw error
      this.#salvage(path, error)
      return undefined
    }
  }

  #fill({ inode, path, children, depth }: Pending): void {
    this.#depth = depth - 1
    for (const { name, inode: child } of this.#attempt(path, () => this.#entries(inode)) ?? []) {
      const place = `${path}/${name}` as ByteString
      const node = this.#linked.get(child) ?? this.#attempt(place, () => this.#node(child, place))
      if (node !== undefined) children.set(name, node)
    }
  }

  #entries(inode: number): Entry[] {
    const entries: Entry[] = []
    const firstCookie = 2
    this.#fs.readdir(inode, firstCookie, (name, child) => {
      entries.push({ name, inode: child })
      return true
    })
    return entries
  }

  #node(inode: number, path: ByteString): TreeNode {
    const out = this.#out
    answerOf(this.#fs.getattr(inode, out), path)
    const { mode, linkCount, size, rdev } = out
    const meta = this.#meta(inode, path, out)
    const node = this.#ofType(mode & fileTypeMask, { inode, path, size, rdev, meta })
    if (linkCount > 1 && node.kind !== "directory") this.#linked.set(inode, node)
    return node
  }

  #ofType(
    type: number,
    file: { inode: number; path: ByteString; size: number; rdev: number; meta: Metadata },
  ): TreeNode {
    const { inode, path, size, rdev, meta } = file
    switch (type) {
      case 0o040000: {
        const children = new Map<ByteString, TreeNode>()
        if (this.#depth > 0) this.#todo.push({ inode, path, children, depth: this.#depth })
        return { kind: "directory", meta, children }
      }
      case 0o100000:
        return { kind: "file", meta, content: this.#content(inode, path, size) }
      case 0o120000: {
        const target = answerOf(this.#fs.readlink(inode), path)
        if (typeof target === "number") throw new TypeError("a symlink's target is no number")
        return { kind: "symlink", meta, target }
      }
      case 0o010000:
        return { kind: "fifo", meta }
      case 0o140000:
        return { kind: "socket", meta }
      default: {
        const major = (rdev >>> 8) & 0xfff
        const minor = (rdev & 0xff) | ((rdev >>> 12) & 0xfff00)
        return { kind: type === 0o060000 ? "block" : "character", meta, major, minor }
      }
    }
  }

  #meta(inode: number, path: ByteString, out: Readonly<Attributes>): Metadata {
    const names = answerOf(this.#fs.listxattr(inode), path)
    const xattrs: Xattr[] = []
    for (const name of typeof names === "number" ? [] : names.toSorted()) {
      const value = answerOf(this.#fs.getxattr(inode, name), path)
      if (typeof value !== "number") xattrs.push({ name, value })
    }
    const mtime = { seconds: out.mtimeSeconds, nanoseconds: out.mtimeNanoseconds }
    return { mode: out.mode & 0o7777, uid: out.uid, gid: out.gid, mtime, xattrs }
  }

  #content(inode: number, path: ByteString, size: number): Content {
    const fs = this.#fs
    const ranges = (): readonly DataRange[] =>
      this.#attempt(path, () => rangesOf(fs, inode, size)) ?? []
    return {
      size,
      get ranges() {
        return ranges()
      },
      read: (target, position) => {
        if (position < 0 || position + target.length > size)
          throw new TypeError("read past the end of the content")
        const buffer = Buffer.from(target.buffer, target.byteOffset, target.length)
        this.#readPieces(inode, path, buffer, position)
      },
    }
  }

  // In small pieces with salvage, so that damage costs no more than its frame.
  #readPieces(inode: number, path: ByteString, target: Buffer, position: number): void {
    const piece = this.#salvage === undefined ? target.length : 4096
    for (let at = 0; at < target.length; at += piece) {
      const size = Math.min(piece, target.length - at)
      const count = this.#attempt(path, () => this.#fs.read(inode, position + at, size, target, at))
      if (count === undefined) target.fill(0, at, at + size)
      else answerOf(count, path)
    }
  }
}

/** Where data stands, neighbours joined. */
function rangesOf(fs: VolumeFileSystem, inode: number, size: number): DataRange[] {
  const { tree } = fs.core.catalog
  fs.core.data.settleFile(inode)
  const hi = keyOf(inode, itemType.extent)
  const extent = newExtent()
  const ranges: { offset: number; size: number }[] = []
  for (let more = tree.seek(hi, 0); more && tree.hi === hi; more = tree.next()) {
    const offset = tree.lo
    const length = Math.min(extentAt(tree, extent).length, size - offset)
    const last = ranges.at(-1)
    if (length <= 0) break
    if (last !== undefined && last.offset + last.size === offset) last.size += length
    else ranges.push({ offset, size: length })
  }
  return ranges
}
