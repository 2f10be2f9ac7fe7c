import { CofferError, fromSystem, isErrno } from "../../errors.ts"
import type { ReserveUse } from "../frame-store.ts"
import type { Disk } from "./disk.ts"
import { type Entropy, kernelEntropy } from "./entropy.ts"
import type { SegmentWriter } from "./segment-writer.ts"
import { segmentPath } from "./segments.ts"

const mebi = 1024 * 1024
const step = 8 * mebi
const leastReserve = 2 * mebi
const leastFile = mebi / 4
const mostReserve = 32 * mebi
const keptShare = { none: 1, some: 0.75, most: 0.25, all: 0 } as const

export interface NewFile {
  readonly fd: number
  readonly salt: Uint8Array
  /** Blocks are reserved up to here. */
  readonly reserved: number
}

/**
 * Keeps disk blocks reserved ahead of the writer, so that a full disk is met before a frame is queued, and keeps a part
 * of them (the reserve) for index, commit and compaction: without it a full volume could not even delete. Beside it,
 * programs leave so much of the disk free that compaction can copy almost any segment; what others write there is theirs.
 */
export class Room {
  readonly #disk: Disk
  readonly #limit: number
  /** Asked before the disk is called full: deletes what waits for readers. True: something was deleted. */
  readonly #collect: () => boolean
  readonly #entropy: Entropy
  #next: NewFile | undefined
  #reserve = leastReserve
  /** Bytes of the disk beside the reserve that programs leave free. */
  #spare = 0

  constructor(disk: Disk, limit: number, collect: () => boolean, entropy = kernelEntropy) {
    this.#disk = disk
    this.#limit = limit
    this.#collect = collect
    this.#entropy = entropy
  }

  /** Bytes of the reserve that a frame of that use must leave. */
  kept(use: ReserveUse): number {
    return Math.floor(this.#reserve * keptShare[use])
  }

  /** Bytes of the disk beside the reserve that a frame of that use must leave. */
  spare(use: ReserveUse): number {
    return use === "none" || use === "some" ? this.#spare : 0
  }

  /** Bytes set aside for the next segment. */
  get ahead(): number {
    return this.#next?.reserved ?? 0
  }

  /** The reserve grows with the volume: an eighth of it, 2 to 32 MiB, at most a segment. */
  scale(volumeSize: number): void {
    const wanted = Math.min(mostReserve, Math.max(leastReserve, Math.floor(volumeSize / 8)))
    this.#reserve = Math.min(wanted, this.#limit) // there is one next segment at most
    this.#spare = Math.max(0, Math.min(this.#limit, Math.floor(volumeSize / 8)) - this.#reserve)
  }

  /** Blocks up to `end` for certain, and after them, here or in the next segment, what that use must leave. Throws ENOSPC, nothing has changed then. */
  ensure(writer: SegmentWriter, end: number, use: ReserveUse): void {
    const want = end + this.kept(use)
    const spare = this.spare(use)
    if (want > writer.reserved) this.#extend(writer, Math.min(want, this.#limit), spare)
    if (want > this.#limit && !this.#setAside(want - this.#limit, spare)) throw full(this.#disk)
  }

  /** A new file for the next segment, the smaller the less room there is: without one nothing could be committed. Throws ENOSPC. */
  take(): NewFile {
    let next = this.#next
    this.#next = undefined
    for (let share = 1; next === undefined && share <= 8; share *= 2)
      next = this.#attempt(() => this.#create(Math.ceil(this.#reserve / share)))
    if (next === undefined) throw full(this.#disk)
    return next
  }

  // Blocks for so many bytes of the next segment, and for the whole reserve when there are.
  #setAside(size: number, spare: number): boolean {
    if (this.ahead >= size) return true
    for (const wanted of [this.#reserve, Math.max(size, leastFile)]) {
      const next = this.#attempt(() => {
        this.#leave(spare, wanted)
        return this.#grown(wanted)
      })
      if (next === undefined) continue
      this.#next = next
      return true
    }
    return false
  }

  #grown(size: number): NewFile {
    const next = this.#next
    if (next === undefined) return this.#create(size)
    this.#reserveBlocks(next.fd, next.reserved, size - next.reserved)
    return { ...next, reserved: size }
  }

  close(): void {
    if (this.#next === undefined) return
    this.#disk.close(this.#next.fd)
    this.#disk.remove(segmentPath(this.#next.salt))
    this.#next = undefined
  }

  #extend(writer: SegmentWriter, wanted: number, spare: number): void {
    const from = writer.reserved
    if (wanted <= from) return
    for (const to of [Math.min(this.#limit, wanted + step), wanted]) {
      const done = this.#attempt(() => {
        this.#leave(spare, to - from)
        return this.#reserveBlocks(writer.fd, from, to - from)
      })
      if (done === undefined) continue
      writer.reserved = to
      return
    }
    throw full(this.#disk)
  }

  // After `size` bytes are taken.
  #leave(spare: number, size: number): void {
    if (spare > 0 && this.#disk.space().free < size + spare) throw full(this.#disk)
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
