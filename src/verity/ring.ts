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
}

// Control words: jobs given out, jobs claimed, stop flag; then for each slot its block count and whether it is hashed.
// A job's number modulo the slot count is its slot. The numbers wrap after 2^31 jobs, 2 PiB.
export const word = { given: 0, claimed: 1, stop: 2 } as const
const firstSlotWord = 4

export function blockCountWord(slot: number): number {
  return firstSlotWord + slot * 2
}

export function hashedWord(slot: number): number {
  return firstSlotWord + slot * 2 + 1
}

export function allocate(slotCount: number): RingMemory {
  return {
    control: new SharedArrayBuffer((firstSlotWord + slotCount * 2) * 4),
    data: new SharedArrayBuffer(slotCount * slotSize),
    digests: new SharedArrayBuffer(slotCount * slotDigestSize),
  }
}

export function attach(memory: RingMemory): Ring {
  return {
    control: new Int32Array(memory.control),
    slotCount: memory.data.byteLength / slotSize,
    data: new Uint8Array(memory.data),
    digests: Buffer.from(memory.digests),
  }
}

/** Claims the oldest job that nobody has and hashes it; false when there is none. */
export function hashOne(ring: Ring): boolean {
  const job = Atomics.load(ring.control, word.claimed)
  if (job >= Atomics.load(ring.control, word.given)) return false
  // When another thread was first, there may be a next one: the caller asks again.
  if (Atomics.compareExchange(ring.control, word.claimed, job, job + 1) !== job) return true
  hashSlot(ring, job % ring.slotCount)
  return true
}

export function hashSlot(ring: Ring, slot: number): void {
  const size = Atomics.load(ring.control, blockCountWord(slot)) * blockSize
  const start = slot * slotSize
  hashBlocks(ring.data.subarray(start, start + size), ring.digests, slot * slotDigestSize)
  Atomics.store(ring.control, hashedWord(slot), 1)
  Atomics.notify(ring.control, hashedWord(slot))
}

export function runWorker(ring: Ring): void {
  for (;;) {
    const given = Atomics.load(ring.control, word.given)
    if (hashOne(ring)) continue
    if (Atomics.load(ring.control, word.stop) === 1) return
    Atomics.wait(ring.control, word.given, given)
  }
}
