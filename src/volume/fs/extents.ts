// Hot path: see page.ts.
import { extentSize } from "./keys.ts"
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

// Word offsets in the value.
const segmentWord = 0
const offsetWord = 1
const sizeWord = 2
const dataSizeWord = 3
const strideWord = 4
const innerWord = 5
const lengthWord = 6
const maxLength = 256 * 1024 * 1024
/**
 * What an extent costs beside its bytes: its owner behind the data, and the record that moving it takes. Counted as live,
 * so that compaction does not move tiny pieces for ever to gain less than it writes.
 */
export const extentOverhead = 32

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
  tree.put(hi, from, extentSize)
  const words = tree.page.words
  const at = tree.at >> 2
  words[at + segmentWord] = extent.segment
  words[at + offsetWord] = extent.offset
  words[at + sizeWord] = extent.size
  words[at + dataSizeWord] = extent.dataSize
  words[at + strideWord] = extent.stride
  words[at + innerWord] = extent.inner
  words[at + lengthWord] = extent.length
}

// Streams make rows of frames: the extent before grows, where the new one goes on in the same row.
function joinsLast(tree: Tree, hi: number, from: number, next: Extent): boolean {
  if (from === 0 || !tree.floor(hi, from - 1) || tree.hi !== hi) return false
  const words = tree.page.words
  const at = tree.at >> 2
  const have = words[at + lengthWord] as number
  if (tree.lo + have !== from || have + next.length > maxLength) return false
  if (words[at + segmentWord] !== next.segment || words[at + sizeWord] !== next.size) return false
  const data = words[at + dataSizeWord] as number
  if (data !== next.dataSize) return false
  const end = (words[at + innerWord] as number) + have
  const step = next.offset - (words[at + offsetWord] as number)
  const known = words[at + strideWord] as number
  if (step === 0) {
    if (next.inner !== end) return false
  } else if (!continuesRow(step, known, end, data, next)) return false
  tree.cache.markDirty(tree.page)
  words[at + lengthWord] = have + next.length
  if (known === 0)
    words[at + strideWord] = next.stride === 0 && step > 0 ? stepOf(step, end, data) : next.stride
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
    const words = tree.page.words
    const at = tree.at >> 2
    const have = words[at + lengthWord] as number
    const end = start + have
    const gone = Math.min(end, to) - start
    live.add(words[at + segmentWord] as number, end > to ? -gone : -gone - extentOverhead)
    freed += gone
    if (end > to) {
      const rest = copyOf(words, at)
      tree.remove()
      advance(rest, gone)
      fill(tree, hi, to, rest)
      break
    }
    tree.remove()
    if (tree.cache.needsTrim) tree.cache.trim()
  }
  return freed
}

// The extent that begins before the range and reaches into it.
function cutFirst(tree: Tree, live: LiveTable, hi: number, from: number, to: number): number {
  if (!tree.floor(hi, from - 1) || tree.hi !== hi) return 0
  const start = tree.lo
  const words = tree.page.words
  const at = tree.at >> 2
  const have = words[at + lengthWord] as number
  const end = start + have
  if (end <= from) return 0
  const gone = Math.min(end, to) - from
  tree.cache.markDirty(tree.page)
  words[at + lengthWord] = from - start
  live.add(words[at + segmentWord] as number, end > to ? extentOverhead - gone : -gone)
  if (end > to) {
    const rest = copyOf(words, at)
    rest.length = have
    advance(rest, to - start)
    fill(tree, hi, to, rest)
  }
  return gone
}

function copyOf(words: Uint32Array, at: number): Extent {
  return {
    segment: words[at + segmentWord] as number,
    offset: words[at + offsetWord] as number,
    size: words[at + sizeWord] as number,
    dataSize: words[at + dataSizeWord] as number,
    stride: words[at + strideWord] as number,
    inner: words[at + innerWord] as number,
    length: words[at + lengthWord] as number,
  }
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
