// Hot path: what the shield serves, it reads from here.
import { type ByteString, byteString, displayName } from "../bytes/index.ts"
import type { DirectoryNode, Xattr } from "../tree/index.ts"
import type { ByteSource } from "../verity/index.ts"
import { decodeBlock, type Entry } from "./dirents.ts"
import {
  blockSize,
  chunkSizeFor,
  damaged,
  inodeSize,
  noBlock,
  rootNid,
  slotSize,
} from "./format.ts"
import { chunkMap, Image, type Place } from "./image.ts"
import { LazyDirectory, type TreeContext } from "./lazy-tree.ts"
import { decodeXattrs } from "./xattrs.ts"

export interface Directory {
  readonly parent: number
  /** In the order of their bytes, with `.` and `..`. */
  readonly entries: readonly Entry[]
  readonly byName: ReadonlyMap<ByteString, Entry>
}

// What is kept decoded: about 64 MiB at most, but always the directory in use.
const maxCachedEntries = 262_144
const maxCachedMaps = 16

/** Opens an image: `source` is the EROFS image alone, best a `VerifiedSource`. It must stay open. Trusts nothing. */
export function openBinfs(source: ByteSource): BinfsReader {
  return new BinfsReader(new Image(source))
}

/**
 * Reads an image by node number (nid), or as a tree. Every answer was checked: what the image says wrongly is an
 * `integrity` error. No directory is entered through any but its own parent, so there are no loops.
 */
export class BinfsReader {
  readonly image: Image
  readonly rootNid = rootNid
  readonly #directories = new Map<number, Directory>()
  readonly #maps = new Map<number, Uint32Array>()
  #cachedEntries = 0
  #root: DirectoryNode | undefined

  constructor(image: Image) {
    this.image = image
  }

  /** The whole tree; children are read when they are first asked for, and kept. */
  get root(): DirectoryNode {
    const context: TreeContext = { reader: this, linked: new Map() }
    this.#root ??= new LazyDirectory(context, this.stat(rootNid), 1)
    return this.#root
  }

  /** The inode; fails for a number that has none. */
  stat(nid: number): Place {
    return this.image.place(nid)
  }

  xattrs({ nid, inode }: Place): readonly Xattr[] {
    if (inode.xattrSize === 0) return []
    const bytes = this.image.bytes(nid * slotSize + inodeSize, inode.xattrSize, "xattrs")
    return decodeXattrs(bytes, nid)
  }

  readLink(place: Place): ByteString {
    const target = Buffer.alloc(place.inode.size)
    this.read(place, target, 0)
    if (target.includes(0))
      throw damaged(`symlink ${place.nid}`, "a target without NUL", "one", { nid: place.nid })
    return byteString(target)
  }

  /** The entry and its inode; undefined when there is none of that name. `.` and `..` are not looked up. */
  lookUp(directory: Place, name: ByteString): Place | undefined {
    const entry = this.list(directory).byName.get(name)
    return entry === undefined ? undefined : this.enter(directory, entry)
  }

  /** The inode behind an entry of `directory`, which is of the type that the entry says. */
  enter(directory: Place, entry: Entry): Place {
    const place = this.stat(entry.nid)
    const what = `'${displayName(entry.name)}' in directory ${directory.nid}`
    if (place.inode.kind !== entry.kind) throw damaged(what, entry.kind, place.inode.kind)
    if (entry.kind === "directory" && this.list(place).parent !== directory.nid)
      throw damaged(`${what}: its '..'`, String(directory.nid), String(this.list(place).parent))
    return place
  }

  list(place: Place): Directory {
    const cached = this.#directories.get(place.nid)
    if (cached !== undefined) return cached
    const found = this.#decode(place)
    for (const [nid, { entries }] of this.#directories) {
      if (this.#cachedEntries + found.entries.length <= maxCachedEntries) break
      this.#cachedEntries -= entries.length
      this.#directories.delete(nid)
    }
    this.#cachedEntries += found.entries.length
    this.#directories.set(place.nid, found)
    return found
  }

  /** Fills `target` from `position` of a file, directory or symlink; past its end is a `TypeError`. */
  read(place: Place, target: Uint8Array, position: number): void {
    const { inode, nid } = place
    if (position < 0 || position + target.length > inode.size)
      throw new TypeError("read past the end of the content")
    if (inode.layout === "chunks") {
      this.#readChunks(place, target, position)
      return
    }
    const { offset, size } = this.image.dataRange(place)
    const fromBlocks = Math.max(0, Math.min(target.length, size - position))
    const what = `data of inode ${nid}`
    if (fromBlocks > 0) this.image.read(target.subarray(0, fromBlocks), offset + position, what)
    if (fromBlocks === target.length) return
    const tailAt = place.behind + position + fromBlocks - size
    target.set(this.image.bytes(tailAt, target.length - fromBlocks, what), fromBlocks)
  }

  /** The chunk map of a chunk-based file. */
  chunks(place: Place): Uint32Array {
    const cached = this.#maps.get(place.nid)
    if (cached !== undefined) return cached
    const map = chunkMap(this.image, place)
    const oldest = this.#maps.keys().next().value
    if (this.#maps.size >= maxCachedMaps && oldest !== undefined) this.#maps.delete(oldest)
    this.#maps.set(place.nid, map)
    return map
  }

  #readChunks(place: Place, target: Uint8Array, position: number): void {
    const map = this.chunks(place)
    const chunkSize = chunkSizeFor(place.inode.size)
    const end = position + target.length
    for (let at = position; at < end; ) {
      const chunk = Math.floor(at / chunkSize)
      const stop = (chunk + runLength(map, chunk, chunkSize / blockSize)) * chunkSize
      const part = target.subarray(at - position, Math.min(stop, end) - position)
      const address = map[chunk] ?? noBlock
      const offset = address * blockSize + (at % chunkSize)
      if (address === noBlock) part.fill(0)
      else this.image.read(part, offset, `data of inode ${place.nid}`)
      at += part.length
    }
  }

  #decode(place: Place): Directory {
    const { nid, inode } = place
    const fault = (what: string, wanted: string, found: string): Error =>
      damaged(`directory ${nid}: ${what}`, wanted, found, { nid })
    const entries: Entry[] = []
    const byName = new Map<ByteString, Entry>()
    const subdirectories = new Set<number>()
    const dots = { self: -1, parent: -1 }
    let last = "" as ByteString
    for (let at = 0; at < inode.size; at += blockSize) {
      const block = Buffer.alloc(Math.min(blockSize, inode.size - at))
      this.read(place, block, at)
      for (const entry of decodeBlock(block, at + blockSize >= inode.size, nid)) {
        const { name } = entry
        if (name <= last) throw fault("order", "names that ascend", `'${displayName(name)}'`)
        last = name
        entries.push(entry)
        if (name === ".") dots.self = directoryNid(entry)
        else if (name === "..") dots.parent = directoryNid(entry)
        else byName.set(name, entry)
        if (name === "." || name === ".." || entry.kind !== "directory") continue
        if (subdirectories.has(entry.nid)) throw fault(displayName(name), "one name", "two")
        subdirectories.add(entry.nid)
      }
    }
    if (dots.self !== nid) throw fault("'.'", String(nid), String(dots.self))
    if (dots.parent === -1) throw fault("'..'", "a directory", "none")
    if (nid === rootNid && dots.parent !== nid) throw fault("'..'", "the root", String(dots.parent))
    return { parent: dots.parent, entries, byName }
  }
}

function directoryNid(entry: Entry): number {
  return entry.kind === "directory" ? entry.nid : -1
}

/** How many chunks from `first` on follow each other in the image too, and so are one read. */
function runLength(map: Uint32Array, first: number, blocksPerChunk: number): number {
  const address = map[first] ?? noBlock
  let count = 1
  if (address === noBlock) return count
  while (map[first + count] === address + count * blocksPerChunk) count += 1
  return count
}
