// Hot path: plain loops over one typed array.

/** What a redo record does. spec/volume-index.md */
export const operation = { put: 1, remove: 2, write: 3, cut: 4 } as const

const headerWords = 5
const two32 = 4294967296
/** No record is larger: a value of 4112 bytes and its header. */
const maxRecordSize = 4160

/**
 * The redo records since the last commit: what changed in the index, in order. They go into the next commit, and a mount
 * applies them to the tree of the last checkpoint.
 */
export class Journal {
  #memory = new ArrayBuffer(256 * 1024)
  #words = new Uint32Array(this.#memory)
  #bytes = Buffer.from(this.#memory)
  #end = 0

  /** Bytes. */
  get size(): number {
    return this.#end * 4
  }

  /** The records; a view that the next `add` after `clear` overwrites. */
  get records(): Uint8Array {
    return this.#bytes.subarray(0, this.#end * 4)
  }

  clear(): void {
    this.#end = 0
  }

  /** `size` bytes of value follow from `words`. */
  add(op: number, hi: number, lo: number, value: Uint32Array, size: number): void {
    if (this.#end * 4 + maxRecordSize > this.#memory.byteLength) this.#grow()
    const words = this.#words
    const at = this.#end
    words[at] = op | (size << 8)
    words[at + 1] = hi >>> 0
    words[at + 2] = (hi / two32) >>> 0
    words[at + 3] = lo >>> 0
    words[at + 4] = (lo / two32) >>> 0
    const count = (size + 3) >> 2
    if (count > 32) words.set(value.subarray(0, count), at + headerWords)
    else for (let i = 0; i < count; i += 1) words[at + headerWords + i] = value[i] as number
    this.#end = at + headerWords + count
  }

  #grow(): void {
    const memory = new ArrayBuffer(this.#memory.byteLength * 2)
    const words = new Uint32Array(memory)
    words.set(this.#words)
    this.#memory = memory
    this.#words = words
    this.#bytes = Buffer.from(memory)
  }
}

/** Calls `apply` for each record; false when the bytes are no whole records. `value` is filled for each call. */
export function replay(
  records: Uint8Array,
  value: Uint32Array,
  apply: (op: number, hi: number, lo: number, size: number) => void,
): boolean {
  if (records.length % 4 !== 0) return false
  const words = new Uint32Array(records.length / 4)
  new Uint8Array(words.buffer).set(records)
  let at = 0
  while (at < words.length) {
    if (at + headerWords > words.length) return false
    const op = (words[at] as number) & 0xff
    const size = (words[at] as number) >>> 8
    const count = (size + 3) >> 2
    if (count > value.length || at + headerWords + count > words.length) return false
    const hi = (words[at + 1] as number) + (words[at + 2] as number) * two32
    const lo = (words[at + 3] as number) + (words[at + 4] as number) * two32
    value.set(words.subarray(at + headerWords, at + headerWords + count))
    at += headerWords + count
    apply(op, hi, lo, size)
  }
  return true
}
