// Hot path: the writer of an image fills slots, workers hash and sink them, all without a turn of the event loop.
import { availableParallelism } from "node:os"
import { SHARE_ENV, Worker } from "node:worker_threads"
import { hashBlocks } from "./hash-blocks.ts"
import { blockSize, digestSize } from "./layout.ts"
import {
  allocate,
  attach,
  type BlockSink,
  blockCountWord,
  blocksOf,
  firstBlockOf,
  firstBlockWord,
  type Ring,
  type RingMemory,
  runWorker,
  slotDigestSize,
  slotSize,
  state,
  stateWord,
  word,
  workOne,
  workSlot,
} from "./ring.ts"

const slotCount = 8
// Below this a worker's start costs more than it saves.
const workersFromJob = 8
// A worker that died with a job in its hands must not stop us.
const lostWorkerMs = 30_000

export interface HasherOptions {
  /** What is done with blocks besides hashing them, in this thread. Its errors come out of `buffer` and `finish`. */
  readonly sink?: BlockSink
  /** A worker that calls `workOnRing` with its `workerData` and a sink that does the same. Without it there are no workers. */
  readonly worker?: (memory: RingMemory) => { readonly url: URL; readonly workerData: unknown }
  /** Default: one less than there are cores, this thread being busy too; at least one. */
  readonly workerCount?: number
}

/**
 * Hashes the blocks of a stream, and has them written, on all cores. The caller fills `buffer` and calls `submit`, and so
 * on. Synchronous: it works while the event loop stands. `close` ends the workers; call it once, also after an error.
 */
export class BlockHasher {
  readonly #options: HasherOptions
  readonly #memory = allocate(slotCount)
  readonly #ring: Ring
  readonly #workers: Worker[] = []
  #job = 0
  #collected = 0
  #leaves = Buffer.alloc(1 << 16)
  #blockCount = 0

  constructor(options: HasherOptions = {}) {
    this.#options = options
    this.#ring = attach(this.#memory, options.sink ?? (() => undefined))
  }

  /** About so many bytes are to come: where they are worth workers, these begin now, while the caller prepares. */
  expect(size: number): void {
    if (size >= workersFromJob * slotSize) this.#startWorkers()
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
    Atomics.store(control, firstBlockWord(slot), firstBlock | 0)
    Atomics.store(control, blockCountWord(slot), size / blockSize)
    Atomics.store(control, stateWord(slot), state.pending)
    this.#job += 1
    Atomics.store(control, word.given, this.#job)
    Atomics.notify(control, word.given, 1)
    if (this.#job === workersFromJob) this.#startWorkers()
  }

  /** For blocks that are not in the stream: hashed, not sunk. */
  hashNow(firstBlock: number, blocks: Uint8Array): void {
    this.#reserve(firstBlock + blocks.length / blockSize)
    hashBlocks(blocks, this.#leaves, firstBlock * digestSize)
  }

  /** Waits for all that was submitted: the digests of blocks 0 to the last one. A block never given has a zero digest. */
  finish(): Uint8Array {
    while (this.#collected < this.#job) this.#collect()
    return this.#leaves.subarray(0, this.#blockCount * digestSize)
  }

  /** After an error too: no worker touches what it was given once this returns. */
  close(): void {
    const { control } = this.#ring
    // Nobody claims another job; those that are under way end first.
    const claimed = Atomics.exchange(control, word.claimed, 2 ** 31 - 1)
    for (let job = this.#collected; job < Math.min(claimed, this.#job); job += 1)
      this.#await(job % slotCount)
    Atomics.store(control, word.stop, 1)
    Atomics.store(control, word.given, -1)
    Atomics.notify(control, word.given)
    for (const worker of this.#workers) worker.unref()
  }

  #startWorkers(): void {
    const { worker, workerCount = Math.max(1, availableParallelism() - 1) } = this.#options
    if (worker === undefined || this.#workers.length > 0) return
    const { url, workerData } = worker(this.#memory)
    for (let i = 0; i < workerCount; i += 1) {
      const started = new Worker(url, { workerData, env: SHARE_ENV, trackUnmanagedFds: false })
      // A worker that cannot start takes no jobs, and this thread does them: nothing is lost but speed.
      started.on("error", () => undefined)
      this.#workers.push(started)
    }
  }

  /** Takes over the digests of the oldest job, and works rather than waits. */
  #collect(): void {
    const slot = this.#collected % slotCount
    while (Atomics.load(this.#ring.control, stateWord(slot)) === state.pending)
      if (!workOne(this.#ring)) this.#await(slot)
    const blocks = blocksOf(this.#ring, slot)
    const firstBlock = firstBlockOf(this.#ring, slot)
    if (Atomics.load(this.#ring.control, stateWord(slot)) === state.unsunk)
      this.#ring.sink(blocks, firstBlock)
    this.#reserve(firstBlock + blocks.length / blockSize)
    const start = slot * slotDigestSize
    const end = start + (blocks.length / blockSize) * digestSize
    this.#ring.digests.copy(this.#leaves, firstBlock * digestSize, start, end)
    this.#collected += 1
  }

  #await(slot: number): void {
    const outcome = Atomics.wait(this.#ring.control, stateWord(slot), state.pending, lostWorkerMs)
    if (outcome === "timed-out") workSlot(this.#ring, slot)
  }

  #reserve(blockCount: number): void {
    this.#blockCount = Math.max(this.#blockCount, blockCount)
    if (this.#blockCount * digestSize <= this.#leaves.length) return
    const grown = Buffer.alloc(this.#blockCount * digestSize * 2)
    this.#leaves.copy(grown)
    this.#leaves = grown
  }
}

/** The whole of a worker: does jobs until the hasher is closed. */
export function workOnRing(memory: RingMemory, sink: BlockSink): void {
  runWorker(attach(memory, sink))
}
