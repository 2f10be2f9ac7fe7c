// Hot path: plain loops over typed arrays, no allocation. Measured by bench/volume-fs.ts.

/**
 * A page of the index: an ordered table of entries (key of two u64, place of the value) that grows from the front, and
 * a heap of values that grows from the end. spec/volume-index.md has the bytes.
 */
export const pageSize = 16384
/** The largest value: a split then always makes room. */
export const maxValueSize = 4112

const headerSize = 16
const headerWords = 4
const entrySize = 20
const entryWords = 5
const two32 = 4294967296
const magic = 0x31585043 // "CPX1"
/** No page of the index has more levels: 2^64 entries need fewer. */
const maxLevel = 12

const scratch = Buffer.alloc(pageSize)

/** In memory a page that nobody changes has only as much as its stored form needs, rounded up to this. */
const memoryStep = 2048

/** Bytes of memory of the pages that count against a cache. */
export interface MemoryUse {
  size: number
}

export class Page {
  bytes: Buffer
  words: Uint32Array
  /** How much of the gap between table and heap is left out in memory: a value at `p` of the page stands at `p - shift`. */
  #shift: number
  readonly #use: MemoryUse
  /** 0 is a leaf. */
  readonly level: number
  count = 0
  /** Where the heap begins. */
  heap = pageSize
  /** Bytes of the heap that no entry uses. */
  garbage = 0
  parent: Page | undefined = undefined
  /** Of inner pages: the child of each entry where it is in memory. */
  readonly children: (Page | undefined)[] = []
  /** Differs from what stands in the store. */
  dirty = false
  /** Where the cache has it; -1: nowhere. */
  slot = -1
  /** How often it was used lately, up to `maxHeat`. */
  heat = 0
  /** Where it stands in the store; size 0: nowhere. */
  segment = 0
  offset = 0
  size = 0
  /** Where the last entry was inserted: runs of keys that ascend split there, and leave full pages. */
  lastInsert = -2

  /** `capacity`: a multiple of `memoryStep`, up to `pageSize`. */
  constructor(level: number, capacity: number, use: MemoryUse) {
    this.#use = use
    const memory = new ArrayBuffer(capacity)
    this.level = level
    this.bytes = Buffer.from(memory)
    this.words = new Uint32Array(memory)
    this.#shift = pageSize - capacity
  }

  /** Bytes of memory. */
  get capacity(): number {
    return pageSize - this.#shift
  }

  /** Makes the memory as large as the page can be. */
  #grow(): void {
    this.#use.size += this.#shift
    const { bytes, heap } = this
    const memory = new ArrayBuffer(pageSize)
    this.bytes = Buffer.from(memory)
    this.words = new Uint32Array(memory)
    this.bytes.set(bytes.subarray(0, headerSize + this.count * entrySize), 0)
    this.bytes.set(bytes.subarray(heap - this.#shift), heap)
    this.#shift = 0
  }

  /** How much memory would do. */
  get leastCapacity(): number {
    return capacityFor(this.used)
  }

  /** Takes the memory of an unused page, which gets ours: nothing is left for the garbage collector. */
  exchange(other: Page): void {
    this.sweep()
    const { bytes, words } = this
    const shift = this.#shift
    this.#use.size += other.capacity - this.capacity
    this.bytes = other.bytes
    this.words = other.words
    this.#shift = other.#shift
    this.bytes.set(bytes.subarray(0, headerSize + this.count * entrySize), 0)
    this.bytes.set(bytes.subarray(this.heap - shift, pageSize - shift), this.heap - this.#shift)
    other.bytes = bytes
    other.words = words
    other.#shift = shift
  }

  /** As a new page: a leaf that was dropped is used again, so that looks make no garbage. */
  reset(): void {
    this.count = 0
    this.heap = pageSize
    this.garbage = 0
    this.parent = undefined
    this.dirty = false
    this.heat = 0
    this.segment = 0
    this.offset = 0
    this.size = 0
    this.lastInsert = -2
  }

  hi(index: number): number {
    const k = headerWords + index * entryWords
    return (this.words[k] as number) + (this.words[k + 1] as number) * two32
  }

  lo(index: number): number {
    const k = headerWords + index * entryWords
    return (this.words[k + 2] as number) + (this.words[k + 3] as number) * two32
  }

  /** Offset of the value in `bytes`; a multiple of 4. */
  valueAt(index: number): number {
    return this.#placeOf(index) - this.#shift
  }

  /** Where the value stands in the page of `pageSize` bytes. */
  #placeOf(index: number): number {
    return (this.words[headerWords + index * entryWords + 4] as number) & 0xffff
  }

  valueSize(index: number): number {
    return (this.words[headerWords + index * entryWords + 4] as number) >>> 16
  }

  /** Index of the first entry whose key is not less. */
  lowerBound(hi: number, lo: number): number {
    const words = this.words
    const h0 = hi >>> 0
    const h1 = (hi / two32) >>> 0
    const l0 = lo >>> 0
    const l1 = (lo / two32) >>> 0
    let low = 0
    let high = this.count
    while (low < high) {
      const middle = (low + high) >>> 1
      const k = headerWords + middle * entryWords
      let less = false
      const a = words[k + 1] as number
      if (a !== h1) less = a < h1
      else {
        const b = words[k] as number
        if (b !== h0) less = b < h0
        else {
          const c = words[k + 3] as number
          less = c === l1 ? (words[k + 2] as number) < l0 : c < l1
        }
      }
      if (less) low = middle + 1
      else high = middle
    }
    return low
  }

  equals(index: number, hi: number, lo: number): boolean {
    return index < this.count && this.lo(index) === lo && this.hi(index) === hi
  }

  /** Of an inner page: the entry whose child holds the key. */
  childIndex(hi: number, lo: number): number {
    const index = this.lowerBound(hi, lo)
    if (this.equals(index, hi, lo) || index === 0) return index
    return index - 1
  }

  setKey(index: number, hi: number, lo: number): void {
    const k = headerWords + index * entryWords
    this.words[k] = hi >>> 0
    this.words[k + 1] = (hi / two32) >>> 0
    this.words[k + 2] = lo >>> 0
    this.words[k + 3] = (lo / two32) >>> 0
  }

  get used(): number {
    return headerSize + this.count * entrySize + (pageSize - this.heap) - this.garbage
  }

  fits(valueSize: number): boolean {
    return this.used + entrySize + aligned(valueSize) <= pageSize
  }

  /** Makes an entry with room for a value and returns where that stands. The caller has checked `fits`. */
  insert(index: number, hi: number, lo: number, size: number): number {
    const room = aligned(size)
    if (this.#shift > 0) this.#grow()
    if (headerSize + (this.count + 1) * entrySize > this.heap - room) this.sweep()
    const words = this.words
    const k = headerWords + index * entryWords
    const end = headerWords + this.count * entryWords
    if (k < end) words.copyWithin(k + entryWords, k, end)
    this.heap -= room
    this.setKey(index, hi, lo)
    words[k + 4] = this.heap | (size << 16)
    this.count += 1
    this.lastInsert = index
    return this.heap
  }

  /** Gives the entry room for a value of another size, or returns -1 when the page has none. The old value is lost. */
  resize(index: number, size: number): number {
    const k = headerWords + index * entryWords + 4
    const old = aligned(this.valueSize(index))
    const room = aligned(size)
    if (old === room) {
      this.words[k] = this.#placeOf(index) | (size << 16)
      return this.valueAt(index)
    }
    if (this.used - old + room > pageSize) return -1
    if (this.#shift > 0) this.#grow()
    this.garbage += old
    this.words[k] = 0
    if (headerSize + this.count * entrySize > this.heap - room) this.sweep()
    this.heap -= room
    this.words[k] = this.heap | (size << 16)
    return this.heap
  }

  remove(index: number): void {
    const size = aligned(this.valueSize(index))
    if (this.#placeOf(index) === this.heap) this.heap += size
    else this.garbage += size
    const k = headerWords + index * entryWords
    const end = headerWords + this.count * entryWords
    this.words.copyWithin(k, k + entryWords, end)
    this.count -= 1
    this.lastInsert = -2
    if (this.count === 0) {
      this.heap = pageSize
      this.garbage = 0
    }
  }

  /** Appends entries of another page behind our own; all fit. */
  take(from: Page, start: number, end: number): void {
    for (let i = start; i < end; i += 1) {
      const size = from.valueSize(i)
      const at = this.insert(this.count, from.hi(i), from.lo(i), size)
      const source = from.valueAt(i)
      this.bytes.set(from.bytes.subarray(source, source + size), at)
    }
    this.lastInsert = -2
  }

  /** Drops all entries from `start`. */
  truncate(start: number): void {
    for (let i = start; i < this.count; i += 1) this.garbage += aligned(this.valueSize(i))
    this.count = start
    this.lastInsert = -2
  }

  /** Moves the values together, so that no garbage is left. */
  sweep(): void {
    if (this.garbage === 0) return
    const shift = this.#shift
    let at = pageSize
    for (let i = 0; i < this.count; i += 1) {
      const k = headerWords + i * entryWords + 4
      const slot = this.words[k] as number
      const size = slot >>> 16
      if (size === 0) {
        this.words[k] = at
        continue
      }
      const room = aligned(size)
      const source = (slot & 0xffff) - shift
      at -= room
      scratch.set(this.bytes.subarray(source, source + room), at)
      this.words[k] = at | (size << 16)
    }
    this.bytes.set(scratch.subarray(at, pageSize), at - shift)
    this.heap = at
    this.garbage = 0
  }

  /** Writes the stored form (the gap between table and heap left out) and returns its size. */
  store(target: Buffer): number {
    this.sweep()
    const words = this.words
    words[0] = magic
    words[1] = this.level
    words[2] = this.count
    words[3] = this.heap
    const table = headerSize + this.count * entrySize
    target.set(this.bytes.subarray(0, table), 0)
    target.set(this.bytes.subarray(this.heap - this.#shift), table)
    return table + pageSize - this.heap
  }
}

export function aligned(size: number): number {
  return (size + 3) & ~3
}

/** The memory of a page whose stored form has this size. */
export function capacityFor(size: number): number {
  return Math.min(pageSize, Math.ceil(size / memoryStep) * memoryStep)
}

/** The level that a stored page says to have; undefined for what is none. */
export function storedLevel(stored: Buffer): number | undefined {
  const level = stored.readUInt32LE(4)
  return stored.readUInt32LE(0) === magic && level <= maxLevel ? level : undefined
}

/**
 * Makes a page of its stored form, `size` bytes that stand at the front of its memory; false when they are none. Frames are
 * authentic, so this guards against our own faults.
 */
export function restorePage(page: Page, size: number): boolean {
  const { words } = page
  const count = words[2] as number
  const heap = words[3] as number
  const table = headerSize + count * entrySize
  if (size < headerSize || words[0] !== magic || words[1] !== page.level) return false
  if (heap > pageSize || table > heap || table + pageSize - heap !== size) return false
  page.bytes.copyWithin(page.capacity - (pageSize - heap), table, size)
  page.count = count
  page.heap = heap
  if (page.level > 0) page.children.length = count
  const end = headerWords + count * entryWords
  for (let k = headerWords + 4; k < end; k += entryWords) {
    const slot = words[k] as number
    const at = slot & 0xffff
    if (at < heap || at + (slot >>> 16) > pageSize || (at & 3) !== 0) return false
  }
  return true
}

/** Level and first key of a stored page; undefined for what is none, and for the empty root. */
export function storedKey(
  stored: Buffer,
): { readonly level: number; readonly hi: number; readonly lo: number } | undefined {
  if (stored.readUInt32LE(0) !== magic || stored.readUInt32LE(8) === 0) return undefined
  const hi = stored.readUInt32LE(headerSize) + stored.readUInt32LE(headerSize + 4) * two32
  const lo = stored.readUInt32LE(headerSize + 8) + stored.readUInt32LE(headerSize + 12) * two32
  return { level: stored.readUInt32LE(4), hi, lo }
}
