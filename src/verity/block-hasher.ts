// Hot path: the writer of an image fills slots, workers hash them, all without a turn of the event loop.
import { availableParallelism } from "node:os"
import { Worker } from "node:worker_threads"
import { workerUrl } from "../sys/index.ts"
import { hashBlocks } from "./hash-blocks.ts"
import { blockSize, digestSize } from "./layout.ts"
import {
  allocate,
  attach,
  blockCountWord,
  hashedWord,
  hashOne,
  hashSlot,
  type Ring,
  slotDigestSize,
  slotSize,
  word,
} from "./ring.ts"

const slotCount = 8
// Below this a worker's start costs more than it saves.
const workersFromJob = 8
// A worker that died with a job in its hands must not stop us.
const lostWorkerMs = 30_000

/**
 * Hashes the blocks of a stream on all cores. The caller fills `buffer`, calls `submit`, and must be done with those
 * bytes (written them out) before it asks for the next `buffer`. Synchronous: it works while the event loop stands.
 * `close` ends the workers; call it once, also after an error.
 */
export class BlockHasher {
  readonly #ring: Ring
  readonly #memory = allocate(slotCount)
  readonly #workers: Worker[] = []
  readonly #workerCount: number
  #job = 0
  #collected = 0
  /** The first block of each job that is under way, by slot. */
  readonly #firstBlocks = new Float64Array(slotCount)
  readonly #blockCounts = new Int32Array(slotCount)
  #leaves = Buffer.alloc(1 << 16)
  #blockCount = 0

  constructor(workerCount = availableParallelism()) {
    this.#ring = attach(this.#memory)
    this.#workerCount = workerCount
  }

  /** 1 MiB to fill. The same memory until `submit` is called. */
  get buffer(): Uint8Array {
    while (this.#job - this.#collected >= slotCount) this.#collect()
    const start = (this.#job % slotCount) * slotSize
    return this.#ring.data.subarray(start, start + slotSize)
  }

  /** The first `size` bytes of the buffer are the blocks from `firstBlock` on. Whole blocks, at least one. */
  submit(firstBlock: number, size: number): void {
    const slot = this.#job % slotCount
    const { control } = this.#ring
    this.#firstBlocks[slot] = firstBlock
    this.#blockCounts[slot] = size / blockSize
    Atomics.store(control, blockCountWord(slot), size / blockSize)
    Atomics.store(control, hashedWord(slot), 0)
    this.#job += 1
    Atomics.store(control, word.given, this.#job)
    Atomics.notify(control, word.given, 1)
    if (this.#job === workersFromJob) this.#startWorkers()
  }

  /** For blocks that are not in the stream. */
  hashNow(firstBlock: number, blocks: Uint8Array): void {
    this.#reserve(firstBlock + blocks.length / blockSize)
    hashBlocks(blocks, this.#leaves, firstBlock * digestSize)
  }

  /** Waits for all that was submitted: the digests of blocks 0 to the last one. A block never given has a zero digest. */
  finish(): Uint8Array {
    while (this.#collected < this.#job) this.#collect()
    return this.#leaves.subarray(0, this.#blockCount * digestSize)
  }

  close(): void {
    Atomics.store(this.#ring.control, word.stop, 1)
    // Whoever is about to wait for a job sees another number and asks again.
    Atomics.store(this.#ring.control, word.given, -1)
    Atomics.notify(this.#ring.control, word.given)
    for (const worker of this.#workers) worker.unref()
  }

  #startWorkers(): void {
    const url = workerUrl("hash", import.meta.url)
    for (let i = 0; i < this.#workerCount; i += 1) {
      const worker = new Worker(url, { workerData: this.#memory })
      // A worker that cannot start takes no jobs, and this thread does them: nothing is lost but speed.
      worker.on("error", () => undefined)
      this.#workers.push(worker)
    }
  }

  /** Takes over the digests of the oldest job, and hashes rather than waits. */
  #collect(): void {
    const slot = this.#collected % slotCount
    const flag = hashedWord(slot)
    while (Atomics.load(this.#ring.control, flag) === 0) {
      if (hashOne(this.#ring)) continue
      const outcome = Atomics.wait(this.#ring.control, flag, 0, lostWorkerMs)
      if (outcome === "timed-out") hashSlot(this.#ring, slot)
    }
    const firstBlock = this.#firstBlocks[slot] ?? 0
    const count = this.#blockCounts[slot] ?? 0
    this.#reserve(firstBlock + count)
    const start = slot * slotDigestSize
    this.#ring.digests.copy(
      this.#leaves,
      firstBlock * digestSize,
      start,
      start + count * digestSize,
    )
    this.#collected += 1
  }

  #reserve(blockCount: number): void {
    this.#blockCount = Math.max(this.#blockCount, blockCount)
    if (this.#blockCount * digestSize <= this.#leaves.length) return
    const grown = Buffer.alloc(this.#blockCount * digestSize * 2)
    this.#leaves.copy(grown)
    this.#leaves = grown
  }
}
