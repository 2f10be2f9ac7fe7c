import { type ByteString, displayName } from "../bytes/index.ts"
import type { Content, DataRange } from "../tree/index.ts"
import { tarFault } from "./fault.ts"
import { blockSize, parseNumber } from "./header.ts"
import { decimal } from "./pax.ts"
import type { TarSource } from "./source.ts"

// The ways in which tars tell where a sparse file has its data: GNU's old header (type S), and PAX 0.0, 0.1 and 1.0.

/** A file's data lies in the tar without gaps, in the order of the ranges. */
export interface SparseMap {
  readonly realSize: number
  readonly ranges: readonly DataRange[]
  /** Where the data begins in the tar. */
  readonly start: number
}

const maxRangeCount = 1_000_000
const maxDigits = 20

/** Checks numbers from the tar: in order, not overlapping, within the file, and together as long as the data. */
export function checkedRanges(
  pairs: readonly number[],
  realSize: number,
  dataSize: number,
  position: number,
): DataRange[] {
  if (pairs.length % 2 !== 0 || pairs.length > 2 * maxRangeCount) {
    throw tarFault(position, "tar-sparse", "pairs of offset and size", `${pairs.length} numbers`)
  }
  const ranges: DataRange[] = []
  let [end, sum] = [0, 0]
  for (let i = 0; i < pairs.length; i += 2) {
    const [offset = 0, size = 0] = [pairs[i], pairs[i + 1]]
    if (offset < end || offset + size > realSize) {
      const found = `${size} bytes at ${offset}`
      throw tarFault(position, "tar-sparse", `ranges in order, up to ${realSize}`, found)
    }
    const last = ranges.at(-1)
    if (size > 0 && last !== undefined && offset === end) {
      ranges[ranges.length - 1] = { offset: last.offset, size: last.size + size }
    } else if (size > 0) ranges.push({ offset, size })
    end = offset + size
    sum += size
  }
  if (sum !== dataSize) {
    throw tarFault(position, "tar-sparse", `ranges of ${dataSize} bytes in all`, `${sum} bytes`)
  }
  return ranges
}

/** The numbers of a `GNU.sparse.map` record: `offset,size,offset,size`. */
export function numbersOfMap(value: Uint8Array, position: number): number[] {
  const text = Buffer.from(value.buffer, value.byteOffset, value.length).toString("latin1")
  if (text === "") return []
  return text
    .split(",")
    .map((part) => decimal(Buffer.from(part, "latin1"), "GNU.sparse.map", position))
}

/** The map of PAX 1.0: decimal lines at the begin of the data, the count first, filled up to whole blocks. */
export function readMapInData(
  source: TarSource,
  start: number,
  storedSize: number,
  position: number,
): { readonly pairs: number[]; readonly size: number } {
  const lines = new BlockLines(source, start, storedSize, position)
  const count = lines.number()
  if (count > maxRangeCount) {
    throw tarFault(position, "tar-sparse", `at most ${maxRangeCount} ranges`, String(count))
  }
  const pairs: number[] = []
  for (let i = 0; i < 2 * count; i++) pairs.push(lines.number())
  return { pairs, size: lines.readSize }
}

class BlockLines {
  readonly #source: TarSource
  readonly #start: number
  readonly #size: number
  readonly #position: number
  readonly #block = new Uint8Array(blockSize)
  #at = blockSize
  readSize = 0

  constructor(source: TarSource, start: number, size: number, position: number) {
    this.#source = source
    this.#start = start
    this.#size = size
    this.#position = position
  }

  number(): number {
    let text = ""
    for (let char = this.#next(); char !== "\n"; char = this.#next()) {
      text += char
      if (text.length > maxDigits) break
    }
    const value = Number(text)
    if (/^[0-9]+$/.test(text) && Number.isSafeInteger(value)) return value
    const found = `'${displayName(text as ByteString)}'`
    throw tarFault(this.#position, "tar-sparse", "a number in the sparse map", found)
  }

  #next(): string {
    if (this.#at === blockSize) {
      if (this.readSize + blockSize > this.#size) {
        throw tarFault(
          this.#position,
          "tar-sparse",
          "a map that ends",
          "the end of the file's data",
        )
      }
      this.#source.read(this.#block, this.#start + this.readSize)
      this.readSize += blockSize
      this.#at = 0
    }
    this.#at += 1
    return String.fromCharCode(this.#block[this.#at - 1] ?? 0)
  }
}

const oldSparse = { inHeader: 386, headerCount: 4, extended: 482, realSize: 483, blockCount: 21 }
const pairSize = 24

/** The numbers of GNU's old header and of the blocks that continue it; `size` is theirs, bytes. */
export function readOldMap(
  source: TarSource,
  header: Uint8Array,
  start: number,
  position: number,
): { readonly pairs: number[]; readonly size: number; readonly realSize: number } {
  const { inHeader, headerCount, extended, blockCount } = oldSparse
  const pairs = pairsIn(header.subarray(inHeader, inHeader + headerCount * pairSize), position)
  const realSize = oldNumber(header.subarray(oldSparse.realSize, oldSparse.realSize + 12), position)
  const block = new Uint8Array(blockSize)
  let size = 0
  for (let more = header[extended] !== 0; more; more = block[blockCount * pairSize] !== 0) {
    if (start + size + blockSize > source.size || pairs.length > 2 * maxRangeCount) {
      throw tarFault(position, "tar-truncated", "another block of the sparse map", "the end")
    }
    source.read(block, start + size)
    size += blockSize
    pairs.push(...pairsIn(block.subarray(0, blockCount * pairSize), position))
  }
  return { pairs, size, realSize }
}

function pairsIn(bytes: Uint8Array, position: number): number[] {
  const numbers: number[] = []
  for (let at = 0; at < bytes.length && bytes[at] !== 0; at += 12) {
    numbers.push(oldNumber(bytes.subarray(at, at + 12), position))
  }
  return numbers
}

function oldNumber(bytes: Uint8Array, position: number): number {
  const value = parseNumber(bytes)
  if (value !== undefined && value >= 0) return value
  throw tarFault(position, "tar-sparse", "numbers from 0 to 2^53 in the sparse map", "another")
}

/** Content in a tar. What lies between the ranges reads as zeros. */
export function tarContent(source: TarSource, { realSize, ranges, start }: SparseMap): Content {
  const [first] = ranges
  if (ranges.length === 1 && first?.offset === 0 && first.size === realSize) {
    const place = source.fd === undefined ? {} : { place: { fd: source.fd, offset: start } }
    return {
      ...place,
      size: realSize,
      ranges,
      read: (target, at) => readWhole(source, target, at, realSize, start),
    }
  }
  const starts: number[] = []
  let at = start
  for (const range of ranges) {
    starts.push(at)
    at += range.size
  }
  return {
    size: realSize,
    ranges,
    read: (target, position) => readSparse(source, target, position, { realSize, ranges, starts }),
  }
}

function readWhole(
  source: TarSource,
  target: Uint8Array,
  position: number,
  size: number,
  start: number,
): void {
  if (position < 0 || position + target.length > size) {
    throw new TypeError("read past the end of the content")
  }
  source.read(target, start + position)
}

interface Placed {
  readonly realSize: number
  readonly ranges: readonly DataRange[]
  readonly starts: readonly number[]
}

function readSparse(source: TarSource, target: Uint8Array, position: number, map: Placed): void {
  const end = position + target.length
  if (position < 0 || end > map.realSize) throw new TypeError("read past the end of the content")
  target.fill(0)
  for (let i = firstAfter(map.ranges, position); i < map.ranges.length; i++) {
    const range = map.ranges[i]
    if (range === undefined || range.offset >= end) return
    const from = Math.max(position, range.offset)
    const to = Math.min(end, range.offset + range.size)
    const at = (map.starts[i] ?? 0) + from - range.offset
    source.read(target.subarray(from - position, to - position), at)
  }
}

/** The first range that ends after `position`. */
function firstAfter(ranges: readonly DataRange[], position: number): number {
  let [low, high] = [0, ranges.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    const range = ranges[middle]
    if (range !== undefined && range.offset + range.size <= position) low = middle + 1
    else high = middle
  }
  return low
}
