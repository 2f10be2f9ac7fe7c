import { CofferError } from "../../errors.ts"
import type {
  FrameKind,
  FrameStore,
  Place,
  Recovery,
  ReserveUse,
  SegmentInfo,
  StoreSpace,
} from "../frame-store.ts"

interface MemoryFrame {
  readonly kind: FrameKind
  readonly payload: Buffer
}

interface MemorySegment {
  readonly frames: Map<number, MemoryFrame>
  size: number
  sealed: boolean
}

interface MemoryCommit {
  readonly records: Uint8Array
  readonly checkpoint: boolean
  readonly synced: boolean
}

export interface MemoryStoreOptions {
  /** Where a segment ends and the next begins. Small ones exercise compaction. */
  readonly segmentSize?: number
  /** Bytes of all segments together, after which `append` fails with ENOSPC. */
  readonly capacity?: number
}

const headerSize = 36
const segmentHeaderSize = 64
/** What compaction may take beyond the capacity. */
const memoryReserve = 8 * 1024 * 1024

/** A `FrameStore` without disk and cryptography: for tests, and as the model of the real one. */
export class MemoryStore implements FrameStore {
  readonly #segments = new Map<number, MemorySegment>()
  readonly #commits: MemoryCommit[] = []
  readonly #released: number[] = []
  readonly #segmentSize: number
  readonly #capacity: number
  #current = 0
  #logSize = 0
  reserveUse: ReserveUse = "none"

  constructor(options: MemoryStoreOptions = {}) {
    this.#segmentSize = options.segmentSize ?? 256 * 1024 * 1024
    this.#capacity = options.capacity ?? Number.MAX_SAFE_INTEGER
    this.#begin()
  }

  /** What a new owner finds after a clean close (`all`), or after a power cut that kept only what was synced. */
  recovery(kept: "all" | "synced" = "all"): Recovery {
    const lastSynced = this.#commits.findLastIndex((commit) => commit.synced)
    const commits = kept === "all" ? this.#commits : this.#commits.slice(0, lastSynced + 1)
    const start = commits.findLastIndex((commit) => commit.checkpoint)
    return {
      checkpoint: commits[start]?.records,
      records: commits.slice(start + 1).map((commit) => commit.records),
    }
  }

  get logSize(): number {
    return this.#logSize
  }

  append(kind: "data" | "index", payload: Buffer, at: number, size: number, out: Place): void {
    this.#append(kind, payload.subarray(at, at + size), out)
  }

  read(kind: "data" | "index", place: Place, target: Buffer, at: number): void {
    const frame = this.#segments.get(place.segment)?.frames.get(place.offset)
    if (frame?.kind !== kind || frame.payload.length !== place.size)
      throw new CofferError("integrity", `wanted a ${kind} frame, found none`, {
        facts: { segment: place.segment, offset: place.offset, size: place.size },
      })
    frame.payload.copy(target, at)
  }

  flush(): void {}

  commit(records: Uint8Array, sync: boolean): void {
    this.#commit({ records: Uint8Array.from(records), checkpoint: false, synced: sync })
  }

  checkpoint(state: Uint8Array): void {
    if (state.length > 65536) throw new TypeError("a checkpoint's state has at most 64 KiB")
    this.#commit({ records: Uint8Array.from(state), checkpoint: true, synced: true })
    this.#logSize = 0
  }

  segments(): SegmentInfo[] {
    return [...this.#segments]
      .filter(([segment]) => !this.#released.includes(segment))
      .map(([segment, { size, sealed }]) => ({ segment, size, sealed, stale: false }))
  }

  release(segment: number): void {
    if (this.#segments.get(segment)?.sealed !== true)
      throw new TypeError(`segment ${segment} is not a sealed one`)
    this.#released.push(segment)
  }

  frames(segment: number, visit: (kind: FrameKind, place: Readonly<Place>) => void): void {
    const found = this.#segments.get(segment)
    if (found === undefined) throw new TypeError(`no segment ${segment}`)
    for (const [offset, { kind, payload }] of found.frames)
      visit(kind, { segment, offset, size: payload.length })
  }

  space(): StoreSpace {
    const none = Math.max(0, this.#capacity - this.#used())
    const all = Math.max(0, this.#capacity + memoryReserve - this.#used())
    return { total: this.#capacity, left: { none, some: all, most: all, all } }
  }

  tick(): number {
    return 1000
  }

  close(): void {
    const segment = this.#segments.get(this.#current)
    if (segment !== undefined) segment.sealed = true
  }

  #used(): number {
    return [...this.#segments.values()].reduce((sum, { size }) => sum + size, 0)
  }

  #begin(): void {
    this.#current += 1
    this.#segments.set(this.#current, {
      frames: new Map(),
      size: segmentHeaderSize,
      sealed: false,
    })
  }

  #append(kind: FrameKind, payload: Uint8Array, out: Place): void {
    if (payload.length > 1024 * 1024) throw new TypeError("a frame has at most 1 MiB")
    const size = headerSize + payload.length
    if (kind === "data" && this.reserveUse === "none" && this.#used() + size > this.#capacity)
      throw new CofferError("io", "no space left in the volume's store", {
        facts: { errno: "ENOSPC" },
      })
    let segment = this.#segments.get(this.#current)
    if (segment !== undefined && segment.size + size > this.#segmentSize) {
      segment.sealed = true
      this.#begin()
      segment = this.#segments.get(this.#current)
    }
    if (segment === undefined) throw new TypeError("the store has no segment")
    out.segment = this.#current
    out.offset = segment.size
    out.size = payload.length
    segment.frames.set(segment.size, { kind, payload: Buffer.from(payload) })
    segment.size += size
    this.#logSize += size
  }

  #commit(commit: MemoryCommit): void {
    this.#commits.push(commit)
    if (commit.synced)
      for (const [i, earlier] of this.#commits.entries()) {
        if (!earlier.synced) this.#commits[i] = { ...earlier, synced: true }
      }
    if (!commit.checkpoint) return
    for (const segment of this.#released.splice(0)) this.#segments.delete(segment)
  }
}
