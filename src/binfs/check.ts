import { alignUp, displayName, isZero } from "../bytes/index.ts"
import { maxDepth } from "../tree/index.ts"
import type { Entry } from "./dirents.ts"
import {
  blockSize,
  chunkSizeFor,
  damaged,
  noBlock,
  rootOffset,
  slotSize,
  zeroAreaSize,
} from "./format.ts"
import type { Place } from "./image.ts"
import type { BinfsReader } from "./reader.ts"

/**
 * Checks the structure of a whole image: every node is reached, each byte belongs to one thing at most, every block to
 * something, what is between is zeros, counts of links and inodes are right. So what an image unpacks to is in
 * proportion to its size (but for holes). Reads no content. Memory: a bit for each 32 bytes of the image, and 100 bytes for
 * each file with several names.
 */
export function checkBinfs(reader: BinfsReader): void {
  new Check(reader).run()
}

interface Level {
  readonly place: Place
  readonly entries: readonly Entry[]
  next: number
}

class Check {
  readonly #reader: BinfsReader
  readonly #slots: Uint8Array
  /** Names not seen yet, by inode with several. */
  readonly #missingLinks = new Map<number, number>()
  #inodeCount = 0
  #largestFile = 0

  constructor(reader: BinfsReader) {
    this.#reader = reader
    this.#slots = new Uint8Array(reader.image.size / slotSize / 8)
  }

  run(): void {
    const root = this.#reader.stat(this.#reader.rootNid)
    this.#claim(0, rootOffset, "superblock")
    this.#inode(root)
    const stack = [this.#level(root)]
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const entry = top.entries[top.next]
      top.next += 1
      if (entry === undefined) {
        stack.pop()
        continue
      }
      if (entry.name === "." || entry.name === "..") continue
      const place = this.#reader.enter(top.place, entry)
      if (entry.kind !== "directory") this.#leaf(place)
      else {
        this.#inode(place)
        stack.push(this.#level(place))
        if (stack.length > maxDepth + 1)
          throw damaged(displayName(entry.name), `a depth up to ${maxDepth}`, "more")
      }
    }
    for (const [nid, count] of this.#missingLinks)
      throw damaged(`inode ${nid}: i_nlink`, `${count} less`, "too many", { nid })
    this.#zeroArea()
    this.#counts()
  }

  #zeroArea(): void {
    const { image } = this.#reader
    const [begin, size] = [image.zeroBlock * blockSize, zeroAreaSize(this.#largestFile)]
    if (begin + size > image.size) throw damaged("zero area", `${size} bytes`, "fewer")
    this.#claim(begin, begin + size, "zero area")
    for (let at = begin; at < begin + size; at += blockSize)
      if (!isZero(image.bytes(at, blockSize, "zero area")))
        throw damaged("zero area", "zeros", `data in block ${at / blockSize}`)
  }

  #level(place: Place): Level {
    const { entries } = this.#reader.list(place)
    let linkCount = 0
    for (const { kind } of entries) if (kind === "directory") linkCount += 1
    if (linkCount !== place.inode.linkCount)
      throw damaged(`directory ${place.nid}: i_nlink`, `${linkCount}`, `${place.inode.linkCount}`)
    return { place, entries, next: 0 }
  }

  #leaf(place: Place): void {
    const { nid, inode } = place
    const missing = this.#missingLinks.get(nid)
    if (missing === undefined) {
      this.#inode(place)
      if (inode.kind === "symlink") this.#reader.readLink(place)
      if (inode.linkCount > 1) this.#missingLinks.set(nid, inode.linkCount - 1)
    } else if (missing === 1) {
      // Another name of it would be one too many, and claims its bytes again.
      this.#missingLinks.delete(nid)
    } else this.#missingLinks.set(nid, missing - 1)
  }

  /** Claims an inode's bytes, and those of its data. */
  #inode(place: Place): void {
    const { nid, inode, behind, behindSize } = place
    const what = `inode ${nid}`
    this.#inodeCount += 1
    if (inode.ino !== this.#inodeCount)
      throw damaged(`${what}: i_ino`, `${this.#inodeCount}`, `${inode.ino}`)
    this.#claim(nid * slotSize, behind + behindSize, what)
    this.#reader.xattrs(place)
    if (inode.kind === "file") this.#largestFile = Math.max(this.#largestFile, inode.size)
    if (inode.layout === "chunks") {
      const chunkSize = chunkSizeFor(inode.size)
      for (const [i, address] of this.#reader.chunks(place).entries()) {
        const begin = address * blockSize
        const size = alignUp(Math.min(chunkSize, inode.size - i * chunkSize), blockSize)
        if (address !== noBlock) this.#claim(begin, begin + size, `chunk ${i} of ${what}`)
      }
      return
    }
    if (inode.kind !== "file" && inode.kind !== "directory" && inode.kind !== "symlink") return
    const { offset, size } = this.#reader.image.dataRange(place)
    if (size > 0) this.#claim(offset, offset + alignUp(size, blockSize), `data of ${what}`)
  }

  #claim(begin: number, end: number, what: string): void {
    for (let slot = begin / slotSize; slot < end / slotSize; slot += 1) {
      const bit = 1 << (slot & 7)
      const at = Math.floor(slot / 8)
      const old = this.#slots[at] ?? 0
      if ((old & bit) !== 0)
        throw damaged(what, "bytes of its own", `others' at ${slot * slotSize}`)
      this.#slots[at] = old | bit
    }
  }

  #counts(): void {
    const { image } = this.#reader
    if (this.#inodeCount !== image.superblock.inodeCount)
      throw damaged("superblock: inos", `${this.#inodeCount}`, `${image.superblock.inodeCount}`)
    const perBlock = blockSize / slotSize / 8
    for (let block = 0; block * blockSize < image.size; block += 1) {
      const bits = this.#slots.subarray(block * perBlock, (block + 1) * perBlock)
      if (bits.every((byte) => byte === 0xff)) continue
      if (bits.every((byte) => byte === 0))
        throw damaged(`block ${block}`, "one that belongs to something", "one that does not")
      this.#checkRest(block * blockSize, bits)
    }
  }

  #checkRest(offset: number, bits: Uint8Array): void {
    const bytes = this.#reader.image.bytes(offset, blockSize, "block")
    for (const [i, byte] of bytes.entries()) {
      const slot = Math.floor(i / slotSize)
      const used = ((bits[slot >> 3] ?? 0) & (1 << (slot & 7))) !== 0
      if (!used && byte !== 0) throw damaged(`byte ${offset + i}`, "0 between inodes", `${byte}`)
    }
  }
}
