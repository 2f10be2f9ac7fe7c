// Hot path: the memory that the main thread and the hashing workers share, and the protocol on it.
import { hashBlocks } from "./hash-blocks.ts"
import { blockSize, digestSize } from "./layout.ts"

/** Blocks of a slot: 1 MiB. */
export const slotBlockCount = 256
export const slotSize = slotBlockCount * blockSize
export const slotDigestSize = slotBlockCount * digestSize

/** What is posted to a worker. */
export interface RingMemory {
  readonly control: SharedArrayBuffer
  readonly data: SharedArrayBuffer
  readonly digests: SharedArrayBuffer
}

export interface Ring {
  readonly control: Int32Array
  readonly slotCount: number
  readonly data: Uint8Array
  readonly digests: Buffer
  /** What else is done with a slot's blocks, by whichever thread hashes them: written to the disk. */
  readonly sink: BlockSink
}

/** Takes the blocks from `firstBlock` on; they are good during the call. May throw. */
export type BlockSink = (blocks: Uint8Array, firstBlock: number) => void

// Control words: jobs given out, jobs claimed, stop flag; then for each slot its first block, block count and state.
// A job's number modulo the slot count is its slot. The numbers wrap after 2^31 jobs, 2 PiB.
export const word = { given: 0, claimed: 1, stop: 2 } as const
const firstSlotWord = 4

export const wordsPerSlot = 3

export function firstBlockWord(slot: number): number {
  return firstSlotWord + slot * wordsPerSlot
}

export function blockCountWord(slot: number): number {
  return firstSlotWord + slot * wordsPerSlot + 1
}

export function stateWord(slot: number): number {
  return firstSlotWord + slot * wordsPerSlot + 2
}

/** `unsunk`: hashed, but the sink threw; the main thread calls its own, and so meets the error. */
export const state = { pending: 0, done: 1, unsunk: 2 } as const

export function allocate(slotCount: number): RingMemory {
  return {
    control: new SharedArrayBuffer((firstSlotWord + slotCount * wordsPerSlot) * 4),
    data: new SharedArrayBuffer(slotCount * slotSize),
    digests: new SharedArrayBuffer(slotCount * slotDigestSize),
  }
}

export function attach(memory: RingMemory, sink: BlockSink): Ring {
  return {
    control: new Int32Array(memory.control),
    slotCount: memory.data.byteLength / slotSize,
    data: new Uint8Array(memory.data),
    digests: Buffer.from(memory.digests),
    sink,
  }
}

/** Claims the oldest job that nobody has and does it; false when there is none. */
export function workOne(ring: Ring): boolean {
  const job = Atomics.load(ring.control, word.claimed)
  if (job >= Atomics.load(ring.control, word.given)) return false
  // When another thread was first, there may be a next one: the caller asks again.
  if (Atomics.compareExchange(ring.control, word.claimed, job, job + 1) !== job) return true
  workSlot(ring, job % ring.slotCount)
  return true
}

export function workSlot(ring: Ring, slot: number): void {
  const blocks = blocksOf(ring, slot)
  hashBlocks(blocks, ring.digests, slot * slotDigestSize)
  let outcome: number = state.done
  try {
    ring.sink(blocks, firstBlockOf(ring, slot))
  } catch {
    outcome = state.unsunk
  }
  Atomics.store(ring.control, stateWord(slot), outcome)
  Atomics.notify(ring.control, stateWord(slot))
}

export function blocksOf(ring: Ring, slot: number): Uint8Array {
  const size = Atomics.load(ring.control, blockCountWord(slot)) * blockSize
  return ring.data.subarray(slot * slotSize, slot * slotSize + size)
}

/** Block numbers have 32 bits without sign. */
export function firstBlockOf(ring: Ring, slot: number): number {
  return Atomics.load(ring.control, firstBlockWord(slot)) >>> 0
}

export function runWorker(ring: Ring): void {
  for (;;) {
    const given = Atomics.load(ring.control, word.given)
    if (workOne(ring)) continue
    if (Atomics.load(ring.control, word.stop) === 1) return
    Atomics.wait(ring.control, word.given, given)
  }
}
