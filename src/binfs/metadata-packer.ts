import { alignUp } from "../bytes/index.ts"
import { blockSize, slotSize, slotsPerBlock } from "./format.ts"
import type { ImageStream } from "./image-stream.ts"

interface Bin {
  readonly number: number
  readonly block: Buffer
  used: number
}

const maxOpenCount = 16

/**
 * Packs inodes, with all that stands behind them, into metadata blocks: an inode goes into the open block with the least
 * room that is enough. A block's address is known when it is closed, so `nidOf` works after `close` only. What is larger
 * than a block gets blocks of its own.
 */
export class MetadataPacker {
  readonly #stream: ImageStream
  readonly #open: Bin[] = []
  /** The address of each bin's block. */
  readonly #addresses: number[] = []
  /** Blocks of bins that were written, zeros again. */
  readonly #spare: Buffer[] = []

  constructor(stream: ImageStream) {
    this.#stream = stream
  }

  /** Copies the bytes; the result is for `nidOf`. */
  place(bytes: Uint8Array): number {
    if (bytes.length > blockSize) {
      const number = this.#addresses.push(this.#stream.nextBlock) - 1
      this.#stream.append(bytes)
      return number * slotsPerBlock
    }
    const bin = this.#tightest(bytes.length) ?? this.#newBin()
    const place = bin.number * slotsPerBlock + bin.used / slotSize
    bin.block.set(bytes, bin.used)
    bin.used += alignUp(bytes.length, slotSize)
    return place
  }

  close(): void {
    for (const bin of this.#open.splice(0)) this.#write(bin)
  }

  nidOf(place: number): number {
    const slot = place % slotsPerBlock
    return (this.#addresses[(place - slot) / slotsPerBlock] ?? 0) * slotsPerBlock + slot
  }

  #tightest(size: number): Bin | undefined {
    let best: Bin | undefined
    for (const bin of this.#open)
      if (bin.used + size <= blockSize && (best === undefined || bin.used > best.used)) best = bin
    return best
  }

  #newBin(): Bin {
    if (this.#open.length === maxOpenCount) {
      let fullest = 0
      for (const [i, bin] of this.#open.entries())
        if (bin.used > (this.#open[fullest]?.used ?? 0)) fullest = i
      for (const bin of this.#open.splice(fullest, 1)) this.#write(bin)
    }
    const block = this.#spare.pop() ?? Buffer.alloc(blockSize)
    const bin = { number: this.#addresses.push(0) - 1, block, used: 0 }
    this.#open.push(bin)
    return bin
  }

  #write(bin: Bin): void {
    this.#addresses[bin.number] = this.#stream.nextBlock
    this.#stream.append(bin.block)
    bin.block.fill(0)
    this.#spare.push(bin.block)
  }
}
