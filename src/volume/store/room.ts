import { CofferError, fromSystem, isErrno } from "../../errors.ts"
import type { Disk } from "./disk.ts"
import { type Entropy, kernelEntropy } from "./entropy.ts"
import type { SegmentWriter } from "./segment-writer.ts"
import { segmentPath } from "./segments.ts"

const mebi = 1024 * 1024
const step = 8 * mebi
const leastReserve = 2 * mebi
const leastFile = mebi / 4
const mostReserve = 32 * mebi

export interface NewFile {
  readonly fd: number
  readonly salt: Uint8Array
  /** Blocks are reserved up to here. */
  readonly reserved: number
}

/**
 * Keeps disk blocks reserved ahead of the writer, so that a full disk is met before a frame is queued, and keeps a part
 * of them (the reserve) for index, commit and compaction: without it a full volume could not even delete.
 */
export class Room {
  readonly #disk: Disk
  readonly #limit: number
  /** Asked before the disk is called full: deletes what waits for readers. True: something was deleted. */
  readonly #collect: () => boolean
  readonly #entropy: Entropy
  #next: NewFile | undefined
  #reserve = leastReserve

  constructor(disk: Disk, limit: number, collect: () => boolean, entropy = kernelEntropy) {
    this.#disk = disk
    this.#limit = limit
    this.#collect = collect
    this.#entropy = entropy
  }

  get reserve(): number {
    return this.#reserve
  }

  /** The reserve grows with the volume: an eighth of it, 2 to 32 MiB, at most a segment. */
  scale(volumeSize: number): void {
    const wanted = Math.min(mostReserve, Math.max(leastReserve, Math.floor(volumeSize / 8)))
    this.#reserve = Math.min(wanted, this.#limit) // there is one next segment at most
  }

  /** Blocks up to `end` for certain; and when not `urgent` the reserve after them. Throws ENOSPC, nothing has changed then. */
  ensure(writer: SegmentWriter, end: number, urgent: boolean): void {
    const want = urgent ? end : end + this.#reserve
    if (want <= writer.reserved) return
    const inSegment = Math.min(want, this.#limit)
    if (!this.#extend(writer, inSegment, end, urgent)) return
    if (want > this.#limit && this.#next === undefined) {
      const next = this.#attempt(() => this.#create(this.#reserve))
      if (next === undefined && !urgent) throw full(this.#disk)
      this.#next = next
    }
  }

  /** A new file for the next segment, a small one when there is room for no other: without one nothing could be committed. Throws ENOSPC. */
  take(): NewFile {
    const next =
      this.#next ??
      this.#attempt(() => this.#create(this.#reserve)) ??
      this.#attempt(() => this.#create(leastFile))
    this.#next = undefined
    if (next === undefined) throw full(this.#disk)
    return next
  }

  close(): void {
    if (this.#next === undefined) return
    this.#disk.close(this.#next.fd)
    this.#disk.remove(segmentPath(this.#next.salt))
    this.#next = undefined
  }

  #extend(writer: SegmentWriter, inSegment: number, end: number, urgent: boolean): boolean {
    const from = writer.reserved
    if (inSegment <= from) return true
    const generous = Math.min(this.#limit, inSegment + step)
    for (const to of [generous, inSegment, end]) {
      if (to === end && !urgent) break
      if (to <= from) return false
      const done = this.#attempt(() => this.#reserveBlocks(writer.fd, from, to - from))
      if (done === undefined) continue
      writer.reserved = to
      return true
    }
    throw full(this.#disk)
  }

  #create(size: number): NewFile {
    const salt = this.#entropy.salt()
    const name = segmentPath(salt)
    const fd = this.#disk.create(name)
    try {
      this.#reserveBlocks(fd, 0, size)
      return { fd, salt, reserved: size }
    } catch (error) {
      this.#disk.close(fd)
      this.#disk.remove(name)
      throw error
    }
  }

  #reserveBlocks(fd: number, from: number, size: number): true {
    // Where blocks cannot be reserved, what is free now is the best that can be known.
    if (!this.#disk.reserve(fd, from, size) && this.#disk.space().free < size + this.#reserve)
      throw full(this.#disk)
    return true
  }

  /** Undefined: the disk is full, also after collecting. */
  #attempt<T>(work: () => T): T | undefined {
    try {
      return work()
    } catch (error) {
      if (!isFull(error)) throw fromSystem(error, this.#disk.path)
    }
    if (!this.#collect()) return undefined
    try {
      return work()
    } catch (error) {
      if (!isFull(error)) throw fromSystem(error, this.#disk.path)
      return undefined
    }
  }
}

function isFull(error: unknown): boolean {
  if (error instanceof CofferError) return error.facts["errno"] === "ENOSPC"
  return isErrno(error, "ENOSPC", "EDQUOT")
}

function full(disk: Disk): CofferError {
  return new CofferError("io", `${disk.path}: wanted room for the volume, the disk is full`, {
    facts: { errno: "ENOSPC" },
    reason: "disk-full",
    hint: "delete files in the volume, or make room on its disk; nothing is lost",
  })
}
