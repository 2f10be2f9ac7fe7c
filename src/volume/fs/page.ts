// Hot path: plain loops over typed arrays, no allocation. Measured by bench/volume-scale.ts.

import { headerSize, magic, narrowSize, wideSize } from "./stored-page.ts"

/**
 * A page of the index: an ordered table of entries (key, place of the value) that grows from the front, and a heap of values
 * that grows from the end. Keys are two u64 (hi, lo); where all of a page are near one another and small, as they are but for
 * files of more than 4 GiB, an entry has 12 bytes and not 20. spec/volume-index.md has the bytes.
 */
export const pageSize = 8192
/** The largest value: a split then always makes room. */
export const maxValueSize = 2064

const headerWords = headerSize / 4
const two32 = 4294967296

const scratch = Buffer.alloc(pageSize)

/** In memory a page that nobody changes has only as much as its stored form needs, rounded up to this. */
const memoryStep = 1024

/** Bytes of memory of the pages that count against a cache. */
export interface MemoryUse {
  size: number
}

const noChildren: (Page | undefined)[] = []

export class Page {
  bytes: Buffer
  words: Uint32Array
  /** A value at `p` of the page stands at `p - shift`: the gap between table and heap is left out in memory, or a part of it. */
  #shift: number
  readonly #use: MemoryUse
  /** Bytes of memory. */
  capacity: number
  /** 0 is a leaf. */
  readonly level: number
  count = 0
  /** Of a narrow page: keys have hi − base, and lo, in 32 bits each. */
  #narrow = true
  #base = 0
  #entryWords = narrowSize / 4
  /** Where the heap begins. */
  heap = pageSize
  /** Bytes of the heap that no entry uses. */
  garbage = 0
  parent: Page | undefined = undefined
  /** Of inner pages: the child of each entry where it is in memory. */
  readonly children: (Page | undefined)[]
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
    this.children = level === 0 ? noChildren : []
    this.bytes = Buffer.from(memory)
    this.words = new Uint32Array(memory)
    this.capacity = capacity
    this.#shift = pageSize - capacity
  }

  get entrySize(): number {
    return this.#entryWords * 4
  }

  get #tableSize(): number {
    return headerSize + this.count * this.#entryWords * 4
  }

  /** Makes the memory as large as the page can be. */
  #grow(): void {
    this.#use.size += pageSize - this.capacity
    const { bytes, heap } = this
    const memory = new ArrayBuffer(pageSize)
    this.bytes = Buffer.from(memory)
    this.words = new Uint32Array(memory)
    this.bytes.set(bytes.subarray(0, this.#tableSize), 0)
    this.bytes.set(bytes.subarray(heap - this.#shift, pageSize - this.#shift), heap)
    this.#shift = 0
    this.capacity = pageSize
  }

  /** Makes the gap between table and heap at least so large; there is room for it in the page. */
  #widenGap(size: number): void {
    if (this.#tableSize + size <= this.heap - this.#shift) return
    if (this.used + size <= this.capacity) {
      const shift = pageSize - this.capacity
      if (this.#shift !== shift) {
        const from = this.heap - this.#shift
        this.bytes.copyWithin(this.heap - shift, from, pageSize - this.#shift)
        this.#shift = shift
      }
    } else if (this.capacity < pageSize) this.#grow()
    if (this.#tableSize + size > this.heap - this.#shift) this.sweep()
  }

  /** How much memory would do. */
  get leastCapacity(): number {
    return capacityFor(this.used)
  }

  /** Takes the memory of an unused page, which gets ours: nothing is left for the garbage collector. */
  exchange(other: Page): void {
    this.sweep()
    const { bytes, words, capacity } = this
    const shift = this.#shift
    this.#use.size += other.capacity - capacity
    this.bytes = other.bytes
    this.words = other.words
    this.capacity = other.capacity
    this.#shift = pageSize - other.capacity
    this.bytes.set(bytes.subarray(0, this.#tableSize), 0)
    this.bytes.set(bytes.subarray(this.heap - shift, pageSize - shift), this.heap - this.#shift)
    other.bytes = bytes
    other.words = words
    other.capacity = capacity
    other.#shift = pageSize - capacity
  }

  /** As a new page: a leaf that was dropped is used again, so that looks make no garbage. */
  reset(): void {
    this.#shift = pageSize - this.capacity
    this.#clear()
    this.parent = undefined
    this.dirty = false
    this.heat = 0
    this.segment = 0
    this.offset = 0
    this.size = 0
    this.lastInsert = -2
  }

  #clear(): void {
    this.count = 0
    this.#narrow = true
    this.#base = 0
    this.#entryWords = narrowSize / 4
    this.heap = pageSize
    this.garbage = 0
  }

  hi(index: number): number {
    const k = headerWords + index * this.#entryWords
    if (this.#narrow) return this.#base + (this.words[k] as number)
    return (this.words[k] as number) + (this.words[k + 1] as number) * two32
  }

  lo(index: number): number {
    if (this.#narrow) return this.words[headerWords + 1 + index * 3] as number
    const k = headerWords + 2 + index * this.#entryWords
    return (this.words[k] as number) + (this.words[k + 1] as number) * two32
  }

  /** The word with place and size of the value. */
  #slotWord(index: number): number {
    return headerWords - 1 + (index + 1) * this.#entryWords
  }

  /** Offset of the value in `bytes`; a multiple of 4. */
  valueAt(index: number): number {
    return ((this.words[this.#slotWord(index)] as number) & 0xffff) - this.#shift
  }

  valueSize(index: number): number {
    return (this.words[this.#slotWord(index)] as number) >>> 16
  }

  /** Index of the first entry whose key is not less. */
  lowerBound(hi: number, lo: number): number {
    return this.#narrow ? this.#lowerNarrow(hi, lo) : this.#lowerWide(hi, lo)
  }

  #lowerNarrow(hi: number, lo: number): number {
    const words = this.words
    let h = hi - this.#base
    let l = lo
    if (l >= two32) {
      h += 1
      l = 0
    }
    if (h < 0) return 0
    let low = 0
    let high = this.count
    if (h >= two32) return high
    while (low < high) {
      const middle = (low + high) >>> 1
      const k = headerWords + middle * 3
      const a = words[k] as number
      if (a < h || (a === h && (words[k + 1] as number) < l)) low = middle + 1
      else high = middle
    }
    return low
  }

  #lowerWide(hi: number, lo: number): number {
    const words = this.words
    let low = 0
    let high = this.count
    while (low < high) {
      const middle = (low + high) >>> 1
      const k = headerWords + middle * 5
      const a = (words[k] as number) + (words[k + 1] as number) * two32
      let less = a < hi
      if (a === hi) less = (words[k + 2] as number) + (words[k + 3] as number) * two32 < lo
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

  /** Can the key stand among ours without making all entries wide? */
  #isNear(hi: number, lo: number): boolean {
    if (!this.#narrow) return true
    if (lo >= two32) return false
    if (this.count === 0) return true
    return (hi < this.#base ? this.hi(this.count - 1) - hi : hi - this.#base) < two32
  }

  /** Before a key becomes one of ours: the table has a form that it fits in. */
  #admit(hi: number, lo: number): void {
    if (!this.#isNear(hi, lo)) this.#widen()
    else if (this.#narrow && (this.count === 0 || hi < this.#base)) this.#rebase(hi)
  }

  #rebase(base: number): void {
    const by = this.#base - base
    const end = headerWords + this.count * 3
    for (let k = headerWords; k < end; k += 3) this.words[k] = (this.words[k] as number) + by
    this.#base = base
  }

  #widen(): void {
    this.#widenGap(this.count * (wideSize - narrowSize))
    const { words } = this
    for (let i = this.count - 1; i >= 0; i -= 1) {
      const from = headerWords + i * 3
      const hi = this.#base + (words[from] as number)
      const lo = words[from + 1] as number
      const slot = words[from + 2] as number
      setWide(words, headerWords + i * 5, hi, lo)
      words[headerWords + i * 5 + 4] = slot
    }
    this.#narrow = false
    this.#base = 0
    this.#entryWords = wideSize / 4
  }

  /** The stored form is narrow where it can be, and its base is the first key's hi. */
  #normalise(): void {
    const first = this.count === 0 ? 0 : this.hi(0)
    if (this.#narrow) {
      if (first !== this.#base) this.#rebase(first)
      return
    }
    if (this.hi(this.count - 1) - first >= two32) return
    for (let i = 0; i < this.count; i += 1) if (this.lo(i) >= two32) return
    const { words } = this
    for (let i = 0; i < this.count; i += 1) {
      const from = headerWords + i * 5
      const hi = this.hi(i)
      words[headerWords + i * 3] = hi - first
      words[headerWords + i * 3 + 1] = words[from + 2] as number
      words[headerWords + i * 3 + 2] = words[from + 4] as number
    }
    this.#narrow = true
    this.#base = first
    this.#entryWords = narrowSize / 4
  }

  /** The caller has checked that an entry with this key `fits`. */
  setKey(index: number, hi: number, lo: number): void {
    this.#admit(hi, lo)
    this.#putKey(index, hi, lo)
  }

  #putKey(index: number, hi: number, lo: number): void {
    const k = headerWords + index * this.#entryWords
    if (this.#narrow) {
      this.words[k] = hi - this.#base
      this.words[k + 1] = lo
    } else setWide(this.words, k, hi, lo)
  }

  get used(): number {
    return this.#tableSize + (pageSize - this.heap) - this.garbage
  }

  /** What it would use if all its entries were wide. */
  get wideUsed(): number {
    return this.used + this.count * (wideSize - this.#entryWords * 4)
  }

  fits(hi: number, lo: number, valueSize: number): boolean {
    if (this.#isNear(hi, lo))
      return this.used + aligned(valueSize) + this.#entryWords * 4 <= pageSize
    return this.wideUsed + aligned(valueSize) + wideSize <= pageSize
  }

  /** Makes an entry with room for a value and returns where that stands. The caller has checked `fits`. */
  insert(index: number, hi: number, lo: number, size: number): number {
    this.#admit(hi, lo)
    const room = aligned(size)
    const entryWords = this.#entryWords
    this.#widenGap(room + entryWords * 4)
    const words = this.words
    const k = headerWords + index * entryWords
    const end = headerWords + this.count * entryWords
    if (k < end) words.copyWithin(k + entryWords, k, end)
    this.heap -= room
    this.#putKey(index, hi, lo)
    words[k + entryWords - 1] = this.#placeOf(size)
    this.count += 1
    this.lastInsert = index
    return this.heap - this.#shift
  }

  /** Gives the entry room for a value of another size, or returns -1 when the page has none. The old value is lost. */
  resize(index: number, size: number): number {
    const k = this.#slotWord(index)
    const slot = this.words[k] as number
    const old = aligned(slot >>> 16)
    const room = aligned(size)
    if (old === room) {
      this.words[k] = (slot & 0xffff) | (size << 16)
      return this.valueAt(index)
    }
    if (this.used - old + room > pageSize) return -1
    this.garbage += old
    this.words[k] = 0
    this.#widenGap(room)
    this.heap -= room
    this.words[k] = this.#placeOf(size)
    return this.heap - this.#shift
  }

  /** Of the value that begins the heap. An empty one stands at the end: the heap may shrink past any other place. */
  #placeOf(size: number): number {
    return size === 0 ? pageSize : this.heap | (size << 16)
  }

  remove(index: number): void {
    const slot = this.words[this.#slotWord(index)] as number
    const size = aligned(slot >>> 16)
    if ((slot & 0xffff) === this.heap) this.heap += size
    else this.garbage += size
    const k = headerWords + index * this.#entryWords
    const end = headerWords + this.count * this.#entryWords
    this.words.copyWithin(k, k + this.#entryWords, end)
    this.count -= 1
    this.lastInsert = -2
    if (this.count === 0) this.#clear()
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
      const k = this.#slotWord(i)
      const slot = this.words[k] as number
      const size = slot >>> 16
      if (size === 0) {
        this.words[k] = pageSize
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
    this.#normalise()
    const words = this.words
    words[0] = magic
    words[1] = this.level | ((this.#entryWords * 4) << 16)
    words[2] = this.count
    words[3] = this.heap
    words[4] = this.#base >>> 0
    words[5] = (this.#base / two32) >>> 0
    const table = this.#tableSize
    target.set(this.bytes.subarray(0, table), 0)
    target.set(this.bytes.subarray(this.heap - this.#shift, pageSize - this.#shift), table)
    return table + pageSize - this.heap
  }

  /**
   * Makes this the page whose stored form, `size` bytes, stands at the front of the memory; false when it is none. Frames are
   * authentic, so this guards against our own faults. The bytes stay where they are.
   */
  restore(size: number): boolean {
    const { words } = this
    if (size < headerSize || words[0] !== magic) return false
    const form = words[1] as number
    const entrySize = form >>> 16
    if ((form & 0xffff) !== this.level) return false
    if (entrySize !== narrowSize && entrySize !== wideSize) return false
    const count = words[2] as number
    const heap = words[3] as number
    const table = headerSize + count * entrySize
    if (heap > pageSize || table > heap || table + pageSize - heap !== size) return false
    this.count = count
    this.heap = heap
    this.#narrow = entrySize === narrowSize
    this.#base = (words[4] as number) + (words[5] as number) * two32
    this.#entryWords = entrySize / 4
    this.#shift = heap - table
    if (this.level > 0) this.children.length = count
    return this.#placesAreRight()
  }

  #placesAreRight(): boolean {
    const { words, heap } = this
    const step = this.#entryWords
    const end = headerWords + this.count * step
    for (let k = headerWords + step - 1; k < end; k += step) {
      const slot = words[k] as number
      const at = slot & 0xffff
      if (at < heap || at + (slot >>> 16) > pageSize || (at & 3) !== 0) return false
    }
    return true
  }
}

function setWide(words: Uint32Array, k: number, hi: number, lo: number): void {
  words[k] = hi >>> 0
  words[k + 1] = (hi / two32) >>> 0
  words[k + 2] = lo >>> 0
  words[k + 3] = (lo / two32) >>> 0
}

export function aligned(size: number): number {
  return (size + 3) & ~3
}

/** The memory of a page whose stored form has this size. */
export function capacityFor(size: number): number {
  return Math.min(pageSize, Math.ceil(size / memoryStep) * memoryStep)
}
