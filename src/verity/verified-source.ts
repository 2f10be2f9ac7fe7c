// Hot path: every read of a measured file goes through here.
import { hash } from "node:crypto"
import { CofferError } from "../errors.ts"
import { blockSize, digestSize, digestsPerBlock, type Level, verityLevels } from "./layout.ts"

/** Bytes by position, synchronously. `read` fills the whole of `target` or throws. */
export interface ByteSource {
  readonly size: number
  read(target: Uint8Array, position: number): void
}

export interface VerityPlace {
  /** Where the data begin in the source; bytes. Default 0. */
  readonly dataOffset?: number
  /** Bytes of data, whole blocks. */
  readonly dataSize: number
  /** Where the hash area begins in the source; bytes. */
  readonly hashOffset: number
  /** 32 bytes, from somewhere that is trusted. */
  readonly rootHash: Uint8Array
}

// 4 MiB of hash blocks stand for 512 MiB of data.
const maxCachedBlocks = 1024

/**
 * The data of a source, each block verified against the root hash on every read. The source comes from the adversary
 * and may answer a second read differently: a block is read once into memory, and those bytes are verified and given
 * out. Hash blocks are verified when they are read, and kept.
 */
export class VerifiedSource implements ByteSource {
  readonly size: number
  readonly #source: ByteSource
  readonly #dataOffset: number
  readonly #hashOffset: number
  readonly #root: string
  readonly #levels: readonly Level[]
  readonly #cache = new Map<number, Buffer>()
  readonly #edge = Buffer.alloc(blockSize)

  constructor(source: ByteSource, place: VerityPlace) {
    if (place.rootHash.length !== digestSize) throw new TypeError("a root hash has 32 bytes")
    if (place.dataSize % blockSize !== 0) throw new TypeError("data are whole blocks")
    this.size = place.dataSize
    this.#source = source
    this.#dataOffset = place.dataOffset ?? 0
    this.#hashOffset = place.hashOffset
    this.#root = Buffer.from(place.rootHash).toString("latin1")
    this.#levels = verityLevels(place.dataSize / blockSize)
  }

  read(target: Uint8Array, position: number): void {
    const end = position + target.length
    if (position < 0 || end > this.size) throw new TypeError("read past the end of the data")
    let at = position
    while (at < end) {
      const within = at % blockSize
      if (within === 0 && end - at >= blockSize) {
        const size = end - at - ((end - at) % blockSize)
        this.#readBlocks(target.subarray(at - position, at - position + size), at / blockSize)
        at += size
      } else {
        const size = Math.min(blockSize - within, end - at)
        this.#readBlocks(this.#edge, (at - within) / blockSize)
        target.set(this.#edge.subarray(within, within + size), at - position)
        at += size
      }
    }
  }

  /** Verifies every block, data and hash area. `onProgress` hears of bytes. */
  readAll(onProgress: (done: number, total: number) => void): void {
    const buffer = Buffer.alloc(Math.min(this.size, 1 << 20))
    for (let at = 0; at < this.size; at += buffer.length) {
      this.read(buffer.subarray(0, Math.min(buffer.length, this.size - at)), at)
      onProgress(Math.min(at + buffer.length, this.size), this.size)
    }
  }

  #readBlocks(target: Uint8Array, firstBlock: number): void {
    this.#source.read(target, this.#dataOffset + firstBlock * blockSize)
    let digests: Buffer | undefined
    for (let i = 0; i * blockSize < target.length; i += 1) {
      const block = firstBlock + i
      const slot = block % digestsPerBlock
      if (digests === undefined || slot === 0) digests = this.#digestsOf(0, block)
      const want = digests.toString("latin1", slot * digestSize, (slot + 1) * digestSize)
      const bytes = target.subarray(i * blockSize, (i + 1) * blockSize)
      if (hash("sha256", bytes, "binary") !== want) {
        target.fill(0)
        throw broken("data", block, this.#dataOffset + block * blockSize)
      }
    }
  }

  /** The verified block of `level` that holds the digest of block `index` of the level below (level 0: of the data). */
  #digestsOf(level: number, index: number): Buffer {
    const place = this.#levels[level]
    // Above the top level stands the root hash alone.
    if (place === undefined) return Buffer.from(this.#root, "latin1")
    const inLevel = Math.floor(index / digestsPerBlock)
    const inArea = place.firstBlock + inLevel
    const cached = this.#cache.get(inArea)
    if (cached !== undefined) return cached
    const above = this.#digestsOf(level + 1, inLevel)
    const slot = inLevel % digestsPerBlock
    const block = Buffer.alloc(blockSize)
    const offset = this.#hashOffset + inArea * blockSize
    this.#source.read(block, offset)
    const want = above.toString("latin1", slot * digestSize, (slot + 1) * digestSize)
    if (hash("sha256", block, "binary") !== want) throw broken("hash", inArea, offset)
    this.#remember(inArea, block)
    return block
  }

  #remember(inArea: number, block: Buffer): void {
    if (this.#cache.size >= maxCachedBlocks) {
      // Oldest first; the upper levels come back cheaply.
      const oldest = this.#cache.keys().next().value
      if (oldest !== undefined) this.#cache.delete(oldest)
    }
    this.#cache.set(inArea, block)
  }
}

function broken(kind: "data" | "hash", block: number, offset: number): CofferError {
  return new CofferError(
    "integrity",
    `verity: ${kind} block ${block}: wanted the digest that the root hash binds, found another`,
    {
      hint: "the file was changed or damaged after it was made: get it again from where it came",
      reason: `verity-${kind}-block`,
      facts: { block, offset },
    },
  )
}
