// Hot path: the content of every file goes through here once.
import { alignUp } from "../bytes/index.ts"
import type { Content, DataRange } from "../tree/index.ts"
import {
  blockSize,
  chunkFormat,
  chunkSizeFor,
  type Layout,
  minChunkSize,
  noBlock,
} from "./format.ts"
import type { ImageStream } from "./image-stream.ts"

export interface StoredData {
  readonly layout: Layout
  /** For `i_u`. */
  readonly u: number
  /** What stands behind the inode: the inline tail, or the chunk map. Good until the next call. */
  readonly behind: Uint8Array
}

const nothing = new Uint8Array(0)
const tail = new Uint8Array(blockSize)
const zeros = new Uint8Array(minChunkSize)
const scratch = new Uint8Array(minChunkSize)

/**
 * Appends a file's content. A chunk of zeros is a hole, whatever the source says of holes: the same content always has
 * the same bytes. A tail of up to `tailRoom` bytes stands behind the inode. Holes point to the zero area at `zeroBlock`.
 */
export function storeContent(
  stream: ImageStream,
  content: Content,
  tailRoom: number,
  zeroBlock: number,
  onRead: (size: number) => void,
): StoredData {
  if (content.size === 0) return { layout: "plain", u: 0, behind: nothing }
  const chunkSize = chunkSizeFor(content.size)
  const holes = new HoleFinder(content)
  if (content.size < minChunkSize) return storeSmall(stream, content, tailRoom, onRead)
  const map = new Uint32Array(Math.ceil(content.size / chunkSize))
  if (chunkSize > minChunkSize) {
    storeCoarse({ stream, content, chunkSize, holes, map, onRead })
    return finish({ stream, pending: 0, map, size: content.size, tailRoom: 0, zeroBlock })
  }
  const pending = storeFine({ stream, content, chunkSize, holes, map, onRead })
  return finish({ stream, pending, map, size: content.size, tailRoom, zeroBlock })
}

function storeSmall(
  stream: ImageStream,
  content: Content,
  tailRoom: number,
  onRead: (size: number) => void,
): StoredData {
  const window = stream.window(minChunkSize)
  content.read(window.subarray(0, content.size), 0)
  onRead(content.size)
  return keepTail(stream, content.size, stream.nextBlock, content.size, tailRoom)
}

/** Keeps the last `pending` bytes in the window, of which a tail may go behind the inode. */
function keepTail(
  stream: ImageStream,
  pending: number,
  firstBlock: number,
  size: number,
  tailRoom: number,
): StoredData {
  const window = stream.window(pending)
  const tailSize = size % blockSize
  const u = size < blockSize && tailSize <= tailRoom ? 0 : firstBlock
  if (tailSize > 0 && tailSize <= tailRoom) {
    tail.set(window.subarray(pending - tailSize, pending))
    stream.advance(pending - tailSize)
    return { layout: "inline", u, behind: tail.subarray(0, tailSize) }
  }
  padAndKeep(stream, window, pending)
  return { layout: "plain", u, behind: nothing }
}

function padAndKeep(stream: ImageStream, window: Uint8Array, size: number): void {
  const whole = alignUp(size, blockSize)
  window.fill(0, size, whole)
  stream.advance(whole)
}

interface Finish {
  readonly stream: ImageStream
  readonly pending: number
  readonly map: Uint32Array
  readonly size: number
  readonly tailRoom: number
  readonly zeroBlock: number
}

function finish({ stream, pending, map, size, tailRoom, zeroBlock }: Finish): StoredData {
  if (!map.includes(noBlock)) return keepTail(stream, pending, map[0] ?? 0, size, tailRoom)
  padAndKeep(stream, stream.window(pending), pending)
  for (let i = 0; i < map.length; i += 1) if (map[i] === noBlock) map[i] = zeroBlock
  const u = chunkFormat(chunkSizeFor(size))
  return { layout: "chunks", u, behind: new Uint8Array(map.buffer) }
}

interface Job {
  readonly stream: ImageStream
  readonly content: Content
  readonly chunkSize: number
  readonly holes: HoleFinder
  readonly map: Uint32Array
  readonly onRead: (size: number) => void
}

/**
 * Chunks of 64 KiB: reads many at once into the window, and moves the others down where one is zeros. Returns the size
 * of a last part of a block, which is in the window but not kept yet.
 */
function storeFine({ stream, content, chunkSize, holes, map, onRead }: Job): number {
  let chunk = 0
  for (let position = 0; position < content.size; ) {
    if (holes.isHole(position, position + chunkSize)) {
      onRead(Math.min(chunkSize, content.size - position))
      map[chunk] = noBlock
      chunk += 1
      position += chunkSize
      continue
    }
    const window = stream.window(chunkSize)
    const size = readRun(content, holes, window, position, chunkSize)
    onRead(size)
    let kept = 0
    for (let at = 0; at < size; at += chunkSize) {
      const end = Math.min(at + chunkSize, size)
      const isHole = isZeros(window.subarray(at, end))
      map[chunk] = isHole ? noBlock : stream.nextBlock + kept / blockSize
      chunk += 1
      if (isHole) continue
      if (kept !== at) window.copyWithin(kept, at, end)
      kept += end - at
    }
    position += size
    stream.advance(kept - (kept % blockSize))
    if (kept % blockSize !== 0) {
      // Only the last chunk of a file ends within a block. The window begins at that block now.
      return kept % blockSize
    }
  }
  return 0
}

/** Reads chunks from `position` up to the next hole, the end of the window or of the file. */
function readRun(
  content: Content,
  holes: HoleFinder,
  window: Uint8Array,
  position: number,
  chunkSize: number,
): number {
  const limit = Math.min(content.size - position, window.length - (window.length % chunkSize))
  let size = Math.min(chunkSize, limit)
  while (size < limit && !holes.isHole(position + size, position + size + chunkSize))
    size = Math.min(size + chunkSize, limit)
  content.read(window.subarray(0, size), position)
  return size
}

/** Larger chunks, for files over 4 GiB. */
function storeCoarse({ stream, content, chunkSize, holes, map, onRead }: Job): void {
  for (let chunk = 0; chunk < map.length; chunk += 1) {
    const begin = chunk * chunkSize
    const end = Math.min(begin + chunkSize, content.size)
    map[chunk] = holes.isHole(begin, end) ? noBlock : storeChunk(stream, content, begin, end)
    onRead(end - begin)
  }
}

/** Piece by piece; zeros at the chunk's beginning are put off until data follow. The chunk's address, if it has data. */
function storeChunk(stream: ImageStream, content: Content, begin: number, end: number): number {
  let address = noBlock
  for (let position = begin; position < end; position += minChunkSize) {
    const piece = scratch.subarray(0, Math.min(minChunkSize, end - position))
    content.read(piece, position)
    if (address === noBlock && isZeros(piece)) continue
    if (address === noBlock) {
      address = stream.nextBlock
      stream.appendZeros(position - begin)
    }
    stream.append(piece)
  }
  return address
}

function isZeros(bytes: Uint8Array): boolean {
  return bytes[0] === 0 && Buffer.compare(bytes, zeros.subarray(0, bytes.length)) === 0
}

/** Whether a range lies in a hole of the source: no need to read it. Asked in ascending order. */
class HoleFinder {
  readonly #ranges: readonly DataRange[]
  #next = 0

  constructor(content: Content) {
    this.#ranges = content.ranges
  }

  isHole(begin: number, end: number): boolean {
    for (; this.#next < this.#ranges.length; this.#next += 1) {
      const range = this.#ranges[this.#next]
      if (range !== undefined && range.offset + range.size > begin) return range.offset >= end
    }
    return true
  }
}
