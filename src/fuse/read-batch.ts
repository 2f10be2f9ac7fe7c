// Hot path: 20 words are copied in and out for each READ; the arrays are made once.
import { readU64 } from "./encode.ts"
import type { FileSystem } from "./filesystem.ts"
import { inHeaderSize, offsetOf, opcodes, readIn } from "./wire.ts"

const readRequestSize = inHeaderSize + 40
const words = readRequestSize / 4
const capacity = 16
const offsetAt = inHeaderSize + offsetOf(readIn, "offset")
const sizeAt = inHeaderSize + offsetOf(readIn, "size")

/**
 * READs that wait at the same time. The loop serves one after the other; so that the disk serves them together, each
 * is taken from the kernel first and announced to the filesystem (`prefetch`). The order among requests that are under
 * way at once is free, and the kernel holds the inode of each.
 */
export class ReadBatch {
  readonly #fs: FileSystem
  readonly #input: Uint32Array
  readonly #waiting = new Uint32Array(capacity * words)
  readonly #since = new Float64Array(capacity)
  #count = 0

  constructor(fs: FileSystem, input: ArrayBuffer) {
    this.#fs = fs
    this.#input = new Uint32Array(input)
  }

  get count(): number {
    return this.#count
  }

  get full(): boolean {
    return this.#count === capacity
  }

  /** Takes the request of `size` bytes in the input, when it is a READ. */
  take(size: number, nowMs: number): boolean {
    if (size !== readRequestSize || this.#input[1] !== opcodes.READ) return false
    const at = this.#count * words
    for (let i = 0; i < words; i += 1) this.#waiting[at + i] = this.#input[i] ?? 0
    this.#since[this.#count] = nowMs
    this.#count += 1
    // One alone gains nothing: it is read at once.
    if (this.#count === 2) this.#announce(0)
    if (this.#count >= 2) this.#announce(this.#count - 1)
    return true
  }

  /** Puts each back into the input in turn, for `serve`. */
  drain(serve: (size: number, since: number) => void): void {
    const count = this.#count
    this.#count = 0
    for (let k = 0; k < count; k += 1) {
      for (let i = 0; i < words; i += 1) this.#input[i] = this.#waiting[k * words + i] ?? 0
      serve(readRequestSize, this.#since[k] ?? 0)
    }
  }

  #announce(k: number): void {
    const at = k * words * 4
    const inode = readU64(this.#waiting, at + 16)
    const size = this.#waiting[(at + sizeAt) >> 2] ?? 0
    try {
      this.#fs.prefetch?.(inode, readU64(this.#waiting, at + offsetAt), size)
    } catch {
      // What is wrong there, the read itself will meet and report.
    }
  }
}
