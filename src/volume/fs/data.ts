// Hot path: see page.ts.
import type { FrameStore, Place } from "../frame-store.ts"
import type { Catalog } from "./catalog.ts"
import { type Extent, extentAt, newExtent } from "./extents.ts"
import type { Inodes } from "./inodes.ts"
import { itemType, keyOf } from "./keys.ts"
import { maxOwners, ownerSize, putOwner, putTrailer, trailerSize } from "./owners.ts"

/**
 * Data in a frame of a stream. Random reads of 4 KiB want it small, streams large. Against 16 KiB, 8 KiB takes 0.6 of the
 * CPU for a random read and three pages of the disk in place of five, and 1.06 of the CPU for a write of 1 MiB.
 */
export const frameDataSize = 8192
/** Data in a frame that small pieces share. */
const packDataSize = 16384
/** Of many pieces, the most data: who reads one of them reads them all. */
const manyDataSize = 8192
const manyPieces = 8
/** Header and tag of a frame, and some more: only for hints. */
const frameOverhead = 64
/** The largest payload: a full pack of small pieces. */
export const maxPayload = packDataSize + maxOwners * ownerSize + trailerSize
const cacheSlots = 256

interface Piece {
  inode: number
  offset: number
  inner: number
  length: number
}

/**
 * Contents of files. Whole frames go to the store at once; smaller pieces gather in a pack, of one or many files, and
 * stand in the index when that is full, or when somebody looks at such a file, or at a commit.
 */
export class FileData {
  readonly #store: FrameStore
  readonly #catalog: Catalog
  readonly #inodes: Inodes
  readonly #frame = Buffer.alloc(maxPayload)
  readonly #pack = Buffer.alloc(maxPayload)
  #packSize = 0
  #pieces: Piece[] = []
  readonly #place: Place = { segment: 0, offset: 0, size: 0 }
  readonly #extent = newExtent()
  readonly #looked = newExtent()
  // Direct-mapped cache of frames that were read in part.
  readonly #cachedSegment = new Float64Array(cacheSlots)
  readonly #cachedOffset = new Float64Array(cacheSlots)
  readonly #cached: Buffer[] = []
  /** Bytes that were appended since the filesystem last asked for the space of the disk. */
  appended = 0

  constructor(store: FrameStore, catalog: Catalog, inodes: Inodes) {
    this.#store = store
    this.#catalog = catalog
    this.#inodes = inodes
  }

  write(inode: number, offset: number, source: Buffer, at: number, size: number): void {
    if (size < frameDataSize) {
      this.#gather(inode, offset, source, at, size)
      return
    }
    this.settleFile(inode)
    const whole = size - (size % frameDataSize)
    this.#stream(inode, offset, source, at, whole)
    if (whole < size) this.#gather(inode, offset + whole, source, at + whole, size - whole)
  }

  // Frames that follow one another at the same distance make one extent.
  #stream(inode: number, offset: number, source: Buffer, at: number, size: number): void {
    const row = this.#extent
    const place = this.#place
    row.length = 0
    let start = offset
    for (let done = 0; done < size; done += frameDataSize) {
      this.#appendFrame(inode, offset + done, source, at + done)
      const step = place.offset - row.offset
      const frames = row.length / frameDataSize
      if (frames === 1 && row.segment === place.segment) row.stride = step
      if (frames === 0 || row.segment !== place.segment || step !== frames * row.stride) {
        if (frames > 0) this.#register(inode, start, row)
        start = offset + done
        row.segment = place.segment
        row.offset = place.offset
        row.size = place.size
        row.dataSize = frameDataSize
        row.stride = 0
        row.inner = 0
        row.length = 0
      }
      row.length += frameDataSize
    }
    this.#register(inode, start, row)
  }

  #appendFrame(inode: number, offset: number, source: Buffer, at: number): void {
    const frame = this.#frame
    source.copy(frame, 0, at, at + frameDataSize)
    putOwner(frame, frameDataSize, inode, offset, 0, frameDataSize)
    putTrailer(frame, frameDataSize + ownerSize, 1)
    const size = frameDataSize + ownerSize + trailerSize
    this.#store.append("data", frame, 0, size, this.#place)
    this.appended += size
  }

  #register(inode: number, offset: number, extent: Extent): void {
    const owner = this.#inodes.get(inode)
    if (owner === undefined) throw new Error("data of an inode that is not there")
    owner.allocated += this.#catalog.write(inode, offset, extent)
    this.#inodes.changed(owner)
  }

  #gather(inode: number, offset: number, source: Buffer, at: number, size: number): void {
    const last = this.#pieces.at(-1)
    if (last?.inode === inode && last.offset === offset && last.length === size) {
      source.copy(this.#pack, last.inner, at, at + size)
      return
    }
    const limit = this.#pieces.length < manyPieces ? packDataSize : manyDataSize
    if (this.#packSize + size > limit) this.settle(false)
    const next = this.#pieces.at(-1)
    if (next?.inode === inode && next.offset + next.length === offset) next.length += size
    else {
      if (this.#pieces.length === maxOwners) this.settle(false)
      this.#pieces.push({ inode, offset, inner: this.#packSize, length: size })
    }
    source.copy(this.#pack, this.#packSize, at, at + size)
    this.#packSize += size
  }

  /** Bytes of a file that wait in the pack. */
  pending(inode: number): number {
    let size = 0
    for (const piece of this.#pieces) if (piece.inode === inode) size += piece.length
    return size
  }

  /** Brings the pack into the store and the index when it has a piece of that file. */
  settleFile(inode: number): void {
    for (const piece of this.#pieces) {
      if (piece.inode !== inode) continue
      this.settle(true)
      return
    }
  }

  /** The same for a range of the file. */
  settleRange(inode: number, from: number, to: number): void {
    for (const piece of this.#pieces) {
      if (piece.inode !== inode || piece.offset >= to || piece.offset + piece.length <= from)
        continue
      this.settle(true)
      return
    }
  }

  /** Brings the pack into the store and the index. `reserve`: these bytes were taken when there was room, so they may use it. */
  settle(reserve: boolean): void {
    if (this.#pieces.length === 0) return
    const pack = this.#pack
    let at = this.#packSize
    for (const piece of this.#pieces) {
      putOwner(pack, at, piece.inode, piece.offset, piece.inner, piece.length)
      at += ownerSize
    }
    putTrailer(pack, at, this.#pieces.length)
    const extent = this.#extent
    const place = this.#place
    const before = this.#store.reserveUse
    if (reserve) this.#store.reserveUse = "all"
    try {
      this.#store.append("data", pack, 0, at + trailerSize, place)
    } finally {
      this.#store.reserveUse = before
    }
    this.appended += place.size
    const pieces = this.#pieces
    const dataSize = this.#packSize
    this.#pieces = []
    this.#packSize = 0
    for (const piece of pieces) {
      extent.segment = place.segment
      extent.offset = place.offset
      extent.size = place.size
      extent.dataSize = dataSize
      extent.stride = 0
      extent.inner = piece.inner
      extent.length = piece.length
      this.#register(piece.inode, piece.offset, extent)
    }
  }

  /** True when there is room for more than the reserve: a frame of nothing tells. */
  probe(): boolean {
    putTrailer(this.#frame, 0, 0)
    try {
      this.#store.append("data", this.#frame, 0, trailerSize, this.#place)
      return true
    } catch {
      return false
    }
  }

  /** The file is going: what waits of it is not written. */
  drop(inode: number): void {
    if (this.#pieces.length === 0) return
    this.#pieces = this.#pieces.filter((piece) => piece.inode !== inode)
    if (this.#pieces.length === 0) this.#packSize = 0
  }

  /** Fills `size` bytes of `target`, all within the file; holes are zeros. */
  read(inode: number, offset: number, size: number, target: Buffer, at: number): void {
    this.settleFile(inode)
    const tree = this.#catalog.tree
    const hi = keyOf(inode, itemType.extent)
    const end = offset + size
    let position = offset
    let more = tree.floor(hi, offset) && tree.hi === hi ? true : tree.seek(hi, offset)
    while (more && position < end && tree.hi === hi && tree.lo < end) {
      const from = tree.lo
      const row = extentAt(tree, this.#looked)
      const to = Math.min(end, from + row.length)
      if (to > position) {
        if (from > position) {
          target.fill(0, at + position - offset, at + from - offset)
          position = from
        }
        this.#readRow(row, position - from, to - position, target, at + position - offset, end - to)
        position = to
      }
      more = tree.next()
    }
    if (position < end) target.fill(0, at + position - offset, at + size)
  }

  /** A hint: starts the disk for frames that a read of this range will need. Reads no data. */
  prefetch(inode: number, offset: number, size: number): void {
    const store = this.#store
    if (store.prefetch === undefined) return
    const tree = this.#catalog.tree
    const hi = keyOf(inode, itemType.extent)
    const end = offset + size
    let more = tree.floor(hi, offset) && tree.hi === hi ? true : tree.seek(hi, offset)
    while (more && tree.hi === hi && tree.lo < end) {
      const row = extentAt(tree, this.#looked)
      const from = Math.max(offset, tree.lo) - tree.lo
      const to = Math.min(end - tree.lo, row.length)
      const { stride, dataSize, inner } = row
      const first = stride === 0 ? 0 : Math.floor((inner + from) / dataSize)
      const last = stride === 0 ? 0 : Math.floor((inner + to - 1) / dataSize)
      const frameSize = stride === 0 ? row.size + frameOverhead : stride
      const at = row.offset + first * stride
      if (to > from) store.prefetch(row.segment, at, (last - first) * stride + frameSize)
      more = tree.next()
    }
  }

  // `behind`: bytes of the target after the range that are still to be filled.
  #readRow(
    row: Extent,
    skip: number,
    size: number,
    target: Buffer,
    at: number,
    behind: number,
  ): void {
    const place = this.#place
    const { offset: first, dataSize, stride } = row
    place.segment = row.segment
    place.size = row.size
    let inner = row.inner + skip
    let done = 0
    while (done < size) {
      const frame = stride === 0 ? 0 : Math.floor(inner / dataSize)
      const begin = inner - frame * dataSize
      const count = Math.min(size - done, dataSize - begin)
      place.offset = first + frame * stride
      if (begin === 0 && stride !== 0) {
        const whole = this.#readWhole(
          place,
          stride,
          dataSize,
          size - done,
          target,
          at + done,
          behind,
        )
        done += whole
        inner += whole
        if (whole > 0) continue
      }
      // The trailer lands on bytes that come later, so only where such bytes follow.
      if (begin === 0 && count === dataSize && size - done + behind >= place.size)
        this.#store.read("data", place, target, at + done)
      else this.#frameAt(place).copy(target, at + done, begin, begin + count)
      done += count
      inner += count
    }
  }

  /** Fills the target with the data of as many whole frames as can be read at once; returns how many bytes that is. */
  #readWhole(
    place: Place,
    stride: number,
    dataSize: number,
    size: number,
    target: Buffer,
    at: number,
    behind: number,
  ): number {
    const store = this.#store
    if (store.readRow === undefined) return 0
    let count = Math.floor(size / dataSize)
    // The trailer of each lands on the next one's bytes, that of the last on bytes that come later.
    if (size - (count - 1) * dataSize + behind < place.size) count -= 1
    if (count < 2) return 0
    store.readRow(place, stride, count, target, at, dataSize)
    return count * dataSize
  }

  #frameAt(place: Place): Buffer {
    const slot = (place.segment * 31 + (place.offset >>> 4)) % cacheSlots
    let frame = this.#cached[slot]
    if (
      frame !== undefined &&
      this.#cachedSegment[slot] === place.segment &&
      this.#cachedOffset[slot] === place.offset
    )
      return frame
    if (frame === undefined) {
      frame = Buffer.allocUnsafeSlow(maxPayload)
      this.#cached[slot] = frame
    }
    this.#cachedSegment[slot] = 0
    this.#store.read("data", place, frame, 0)
    this.#cachedSegment[slot] = place.segment
    this.#cachedOffset[slot] = place.offset
    return frame
  }
}
