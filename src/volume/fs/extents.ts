// Hot path: see page.ts.
import { extentSize, shortExtentSize } from "./keys.ts"
import type { LiveTable } from "./live-table.ts"
import type { Tree } from "./tree.ts"

/**
 * Where a range of a file stands: `length` bytes from byte `inner` of the data of a row of frames. Each frame holds
 * `dataSize` bytes of data; the first begins at `offset`, each next one `stride` bytes after. `size` is a frame's payload.
 * A row of one frame has stride 0.
 */
export interface Extent {
  segment: number
  offset: number
  size: number
  dataSize: number
  stride: number
  inner: number
  length: number
}

const maxLength = 256 * 1024 * 1024
/**
 * What an extent costs beside its bytes: its owner behind the data, and the record that moving it takes. Counted as live,
 * so that compaction does not move tiny pieces for ever to gain less than it writes.
 */
export const extentOverhead = 32

const shortLimit = 65536

export function newExtent(): Extent {
  return { segment: 0, offset: 0, size: 0, dataSize: 0, stride: 0, inner: 0, length: 0 }
}

/** From a value of `size` bytes, which begins at the word `at`. */
export function readExtent(words: Uint32Array, at: number, size: number, out: Extent): void {
  out.segment = words[at] as number
  out.offset = words[at + 1] as number
  if (size === shortExtentSize) {
    const sizes = words[at + 2] as number
    const range = words[at + 3] as number
    out.size = sizes & 0xffff
    out.dataSize = sizes >>> 16
    out.stride = 0
    out.inner = range & 0xffff
    out.length = range >>> 16
    return
  }
  out.size = words[at + 2] as number
  out.dataSize = words[at + 3] as number
  out.stride = words[at + 4] as number
  out.inner = words[at + 5] as number
  out.length = words[at + 6] as number
}

/** How many bytes its value has: a row of one frame has a short form. */
export function sizeOfExtent({ stride, size, dataSize, inner, length }: Extent): number {
  if (stride !== 0 || size >= shortLimit || dataSize >= shortLimit) return extentSize
  return inner < shortLimit && length < shortLimit ? shortExtentSize : extentSize
}

export function writeExtent(words: Uint32Array, at: number, extent: Extent): void {
  words[at] = extent.segment
  words[at + 1] = extent.offset
  if (sizeOfExtent(extent) === shortExtentSize) {
    words[at + 2] = extent.size | (extent.dataSize << 16)
    words[at + 3] = extent.inner | (extent.length << 16)
    return
  }
  words[at + 2] = extent.size
  words[at + 3] = extent.dataSize
  words[at + 4] = extent.stride
  words[at + 5] = extent.inner
  words[at + 6] = extent.length
}

/** The extent at the tree's cursor. */
export function extentAt(tree: Tree, out: Extent): Extent {
  readExtent(tree.page.words, tree.at >> 2, tree.size, out)
  return out
}

// Of one call at a time: none of these functions calls another with it.
const have = newExtent()

/** Makes `extent` what stands at `from`; what it covers is cut. Returns how many bytes that were. */
export function putExtent(
  tree: Tree,
  live: LiveTable,
  hi: number,
  from: number,
  extent: Extent,
): number {
  const freed = cutExtents(tree, live, hi, from, extent.length)
  if (joinsLast(tree, hi, from, extent)) live.add(extent.segment, extent.length)
  else {
    live.add(extent.segment, extent.length + extentOverhead)
    fill(tree, hi, from, extent)
  }
  return freed
}

function fill(tree: Tree, hi: number, from: number, extent: Extent): void {
  tree.put(hi, from, sizeOfExtent(extent))
  writeExtent(tree.page.words, tree.at >> 2, extent)
}

// The extent at the cursor has changed.
function refill(tree: Tree, hi: number, from: number, extent: Extent): void {
  if (sizeOfExtent(extent) !== tree.size) {
    fill(tree, hi, from, extent)
    return
  }
  tree.cache.markDirty(tree.page)
  writeExtent(tree.page.words, tree.at >> 2, extent)
}

// Streams make rows of frames: the extent before grows, where the new one goes on in the same row.
function joinsLast(tree: Tree, hi: number, from: number, next: Extent): boolean {
  if (from === 0 || !tree.floor(hi, from - 1) || tree.hi !== hi) return false
  extentAt(tree, have)
  const { length, dataSize, stride } = have
  const start = tree.lo
  if (start + length !== from || length + next.length > maxLength) return false
  if (have.segment !== next.segment || have.size !== next.size) return false
  if (dataSize !== next.dataSize) return false
  const end = have.inner + length
  const step = next.offset - have.offset
  if (step === 0) {
    if (next.inner !== end) return false
  } else if (!continuesRow(step, stride, end, dataSize, next)) return false
  have.length = length + next.length
  if (stride === 0)
    have.stride = next.stride === 0 && step > 0 ? stepOf(step, end, dataSize) : next.stride
  refill(tree, hi, start, have)
  return true
}

// `end` bytes of the row's data are before; the next one begins in the frame `step` bytes after the first.
function continuesRow(
  step: number,
  known: number,
  end: number,
  data: number,
  next: Extent,
): boolean {
  if (step < 0) return false
  const frames = (end - next.inner) / data
  if (!Number.isInteger(frames) || frames < 1) return false
  const each = known === 0 ? stepOf(step, end, data) : known
  return step === frames * each && (next.stride === 0 || next.stride === each)
}

function stepOf(step: number, end: number, data: number): number {
  return end % data === 0 ? step / (end / data) : 0
}

/** Removes what stands in the range; returns how many bytes that were. */
export function cutExtents(
  tree: Tree,
  live: LiveTable,
  hi: number,
  from: number,
  size: number,
): number {
  const to = from + size
  let freed = from === 0 ? 0 : cutFirst(tree, live, hi, from, to)
  while (tree.seek(hi, from) && tree.hi === hi && tree.lo < to) {
    const start = tree.lo
    extentAt(tree, have)
    const end = start + have.length
    const gone = Math.min(end, to) - start
    live.add(have.segment, end > to ? -gone : -gone - extentOverhead)
    freed += gone
    tree.remove()
    if (end > to) {
      advance(have, gone)
      fill(tree, hi, to, have)
      break
    }
    if (tree.cache.needsTrim) tree.cache.trim()
  }
  return freed
}

// The extent that begins before the range and reaches into it.
function cutFirst(tree: Tree, live: LiveTable, hi: number, from: number, to: number): number {
  if (!tree.floor(hi, from - 1) || tree.hi !== hi) return 0
  const start = tree.lo
  extentAt(tree, have)
  const { length } = have
  const end = start + length
  if (end <= from) return 0
  const gone = Math.min(end, to) - from
  live.add(have.segment, end > to ? extentOverhead - gone : -gone)
  have.length = from - start
  refill(tree, hi, start, have)
  if (end > to) {
    have.length = length
    advance(have, to - start)
    fill(tree, hi, to, have)
  }
  return gone
}

/** Takes `by` bytes off the front; whole frames that are passed are left behind. */
function advance(extent: Extent, by: number): void {
  extent.length -= by
  const inner = extent.inner + by
  if (extent.stride === 0) {
    extent.inner = inner
    return
  }
  const frames = Math.floor(inner / extent.dataSize)
  extent.offset += frames * extent.stride
  extent.inner = inner - frames * extent.dataSize
}
