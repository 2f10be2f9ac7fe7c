// Hot path: every byte of an image is put into these buffers, and written and hashed from them.
import { alignUp } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import type { BlockHasher } from "../verity/index.ts"
import { blockSize, maxBlockCount } from "./format.ts"

/** Appends whole blocks to an image; the hasher has them written and hashed meanwhile. */
export class ImageStream {
  readonly #hasher: BlockHasher
  #buffer: Uint8Array
  /** The block at the beginning of the buffer. */
  #firstBlock: number
  /** Bytes of the buffer that are in use; whole blocks. */
  #fill = 0

  /** The stream begins at the image's block `firstBlock`. */
  constructor(firstBlock: number, hasher: BlockHasher) {
    this.#firstBlock = firstBlock
    this.#hasher = hasher
    this.#buffer = hasher.buffer
  }

  /** The address of the block that is appended next. */
  get nextBlock(): number {
    return this.#firstBlock + this.#fill / blockSize
  }

  /** Where to put what comes next: at least `size` bytes (up to 1 MiB), with anything in them. Not kept until `advance`. */
  window(size: number): Uint8Array {
    if (this.#buffer.length - this.#fill < size) this.flush()
    return this.#buffer.subarray(this.#fill)
  }

  /** Keeps so many bytes of the window; whole blocks. */
  advance(size: number): void {
    this.#fill += size
    if (this.nextBlock > maxBlockCount)
      throw new CofferError("config", "wanted a tree of less than 16 TiB, found a larger one")
  }

  /** Appends the bytes, and zeros to the end of the block. */
  append(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const window = this.window(blockSize)
      const size = Math.min(bytes.length - at, window.length)
      window.set(bytes.subarray(at, at + size))
      const whole = alignUp(size, blockSize)
      window.fill(0, size, whole)
      this.advance(whole)
      at += size
    }
  }

  /** Whole blocks. */
  appendZeros(size: number): void {
    for (let at = 0; at < size; ) {
      const window = this.window(blockSize)
      const part = Math.min(size - at, window.length)
      window.fill(0, 0, part)
      this.advance(part)
      at += part
    }
  }

  flush(): void {
    if (this.#fill === 0) return
    this.#hasher.submit(this.#firstBlock, this.#fill)
    this.#firstBlock += this.#fill / blockSize
    this.#fill = 0
    this.#buffer = this.#hasher.buffer
  }
}
