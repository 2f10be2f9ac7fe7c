// Hot path: every access to an image goes through here.
import { alignUp } from "../bytes/index.ts"
import { maxTargetSize } from "../tree/index.ts"
import type { ByteSource } from "../verity/index.ts"
import {
  blockSize,
  chunkFormat,
  chunkSizeFor,
  damaged,
  decodeInode,
  decodeSuperblock,
  type Inode,
  inodeSize,
  minChunkSize,
  noBlock,
  rootNid,
  rootOffset,
  type Superblock,
  slotSize,
  zeroAreaBlock,
} from "./format.ts"

const maxCachedBlocks = 1024

/** An inode that was found sound, and where its things are. */
export interface Place {
  readonly nid: number
  readonly inode: Inode
  /** Offset in the image of what stands behind inode and xattrs: inline tail or chunk map. */
  readonly behind: number
  /** Bytes of that. */
  readonly behindSize: number
}

/**
 * The blocks and inodes of an image. The image may come from the adversary, so every number is checked before it is
 * used; what is wrong is an `integrity` error. Memory: 4 MiB of cached blocks.
 */
export class Image {
  readonly superblock: Superblock
  readonly size: number
  /** Where the chunks of holes point. */
  readonly zeroBlock: number
  readonly #source: ByteSource
  readonly #blocks = new Map<number, Buffer>()

  /** `source` is the image alone, without its hash area. */
  constructor(source: ByteSource) {
    if (source.size < blockSize) throw damaged("size", "at least one block", `${source.size} bytes`)
    this.#source = source
    this.size = source.size
    this.superblock = decodeSuperblock(this.#block(0))
    if (this.superblock.blockCount * blockSize !== source.size) {
      const wanted = `${source.size} bytes in blocks of ${blockSize}`
      throw damaged("superblock: blocks", wanted, String(this.superblock.blockCount))
    }
    this.zeroBlock = zeroAreaBlock(this.place(rootNid).inode.xattrSize)
  }

  /** A copy of bytes among the metadata. */
  bytes(offset: number, size: number, what: string): Buffer {
    this.#checkRange(offset, size, what)
    const out = Buffer.allocUnsafe(size)
    for (let at = offset; at < offset + size; ) {
      const within = at % blockSize
      const block = this.#block((at - within) / blockSize)
      at += block.copy(out, at - offset, within)
    }
    return out
  }

  /** Fills `target` with bytes of content, which is not cached. */
  read(target: Uint8Array, offset: number, what: string): void {
    this.#checkRange(offset, target.length, what)
    this.#source.read(target, offset)
  }

  place(nid: number): Place {
    const offset = nid * slotSize
    if (offset < rootOffset || (offset % blockSize) + inodeSize > blockSize)
      throw damaged("inode number", "a place for an inode", String(nid), { nid })
    const inode = decodeInode(this.bytes(offset, inodeSize, "inode"), nid)
    const behind = offset + inodeSize + inode.xattrSize
    const place = { nid, inode, behind, behindSize: this.#behindSize(inode, nid) }
    this.#checkRange(offset, behind + place.behindSize - offset, "inode with what stands behind it")
    this.#checkLayout(place)
    return place
  }

  /** Offset of a `plain` or `inline` node's data blocks, and the bytes that they hold. */
  dataRange({ inode }: Place): { readonly offset: number; readonly size: number } {
    const tail = inode.layout === "inline" ? inode.size % blockSize : 0
    return { offset: inode.u * blockSize, size: inode.size - tail }
  }

  #behindSize({ kind, layout, size }: Inode, nid: number): number {
    if (layout === "inline") return size % blockSize
    if (layout === "plain") return 0
    if (kind !== "file" || size < minChunkSize || !this.superblock.chunked)
      throw damaged(`inode ${nid}: layout`, "chunks for large files only", kind, { nid })
    return Math.ceil(size / chunkSizeFor(size)) * 4
  }

  #checkLayout(place: Place): void {
    const { inode, nid, behind, behindSize } = place
    const fault = (what: string, wanted: string, found: string | number): Error =>
      damaged(`inode ${nid}: ${what}`, wanted, String(found), { nid })
    const kindFault = specificFault(inode)
    if (kindFault !== undefined) throw fault(...kindFault)
    if (inode.layout === "chunks") {
      const format = chunkFormat(chunkSizeFor(inode.size))
      if (inode.u !== format) throw fault("chunk format", String(format), inode.u)
      return
    }
    if (inode.layout === "inline") {
      if (behindSize === 0) throw fault("layout", "an inline tail", "none")
      const head = behind - nid * slotSize
      const from = (nid * slotSize) % blockSize
      if (from + head + behindSize > blockSize) throw fault("inline tail", "within a block", behind)
    }
    if (inode.kind !== "file" && inode.kind !== "directory" && inode.kind !== "symlink") return
    const { offset, size } = this.dataRange(place)
    if (size === 0 && inode.u !== 0) throw fault("block address", "0 without blocks", inode.u)
    if (size > 0) this.#checkRange(offset, alignUp(size, blockSize), `data of inode ${nid}`)
  }

  #checkRange(offset: number, size: number, what: string): void {
    if (offset + size > this.size) {
      const found = `${size} bytes at ${offset}`
      throw damaged(what, `it within ${this.size} bytes`, found, { offset })
    }
  }

  #block(index: number): Buffer {
    const cached = this.#blocks.get(index)
    if (cached !== undefined) return cached
    const block = Buffer.alloc(blockSize)
    this.#source.read(block, index * blockSize)
    if (this.#blocks.size >= maxCachedBlocks) {
      const oldest = this.#blocks.keys().next().value
      if (oldest !== undefined) this.#blocks.delete(oldest)
    }
    this.#blocks.set(index, block)
    return block
  }
}

type Fault = readonly [what: string, wanted: string, found: string | number]

/** What is wrong with an inode of its kind, wherever it stands. */
function specificFault(inode: Inode): Fault | undefined {
  const { kind, size, mode } = inode
  switch (kind) {
    case "file":
      return undefined
    case "directory":
      return size === 0 ? ["size", "a directory with entries", size] : undefined
    case "symlink":
      if (mode !== 0o777) return ["mode of a symlink", "0777", mode.toString(8)]
      return size > 0 && size <= maxTargetSize ? undefined : ["target", "1 to 4095 bytes", size]
    case "character":
    case "block":
    case "fifo":
    case "socket":
      return specialFault(inode)
  }
}

function specialFault({ kind, layout, size, u }: Inode): Fault | undefined {
  if (layout !== "plain" || size !== 0) return ["size of a special file", "0", size]
  if (kind === "character" && u === 0) return ["device", "no whiteout of overlayfs", "0:0"]
  const hasDevice = kind === "character" || kind === "block"
  return hasDevice || u === 0 ? undefined : ["i_u", "0", u]
}

/** The addresses of a chunk-based file, `noBlock` for holes; each checked. */
export function chunkMap(image: Image, place: Place): Uint32Array {
  const { inode, behind, behindSize, nid } = place
  const bytes = image.bytes(behind, behindSize, `chunk map of inode ${nid}`)
  const chunkSize = chunkSizeFor(inode.size)
  const map = new Uint32Array(behindSize / 4)
  for (let i = 0; i < map.length; i += 1) {
    const address = bytes.readUInt32LE(i * 4)
    map[i] = address === image.zeroBlock ? noBlock : address
    const size = alignUp(Math.min(chunkSize, inode.size - i * chunkSize), blockSize)
    if (address * blockSize + size > image.size)
      throw damaged(`chunk ${i} of inode ${nid}`, "it within the image", String(address), { nid })
  }
  return map
}
