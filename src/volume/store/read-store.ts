// Hot path: read.
import { CofferError } from "../../errors.ts"
import type {
  FrameKind,
  FrameStore,
  Place,
  ReserveUse,
  SegmentInfo,
  StoreSpace,
} from "../frame-store.ts"
import { KeylessOpener } from "./cipher.ts"
import type { SegmentId } from "./format.ts"
import { listedHashes } from "./hashes.ts"
import type { Recovered } from "./replay.ts"
import { SegmentCache } from "./segment-cache.ts"
import { closeScanned, openScanned, type VolumeContext } from "./segments.ts"
import { type Finding, type VerifyProgress, verifySegments } from "./verify.ts"
import { visitFrames } from "./visit.ts"

/** A volume at one fixed tag, for reading. Takes no lock and changes nothing; many may be open beside one writer. */
export class ReadStore implements FrameStore {
  readonly #context: VolumeContext
  readonly #recovered: Recovered
  readonly #cache: SegmentCache
  readonly #superseded: () => boolean
  reserveUse: ReserveUse = "none"

  /** `superseded` says whether the anchor has moved on: then a segment that is missing is no damage. */
  constructor(
    context: VolumeContext,
    recovered: Recovered,
    superseded: () => boolean,
    verified: boolean,
  ) {
    this.#context = context
    this.#recovered = recovered
    this.#superseded = superseded
    const idOf = (segment: number) => recovered.table.get(segment)
    this.#cache =
      context.keys === undefined
        ? new SegmentCache(context, idOf, (id) => this.#keyless(id, verified))
        : new SegmentCache(context, idOf)
  }

  get logSize(): number {
    return this.#recovered.logSize
  }

  append(): void {
    throw readOnly()
  }

  read(kind: "data" | "index", place: Place, target: Buffer, at: number): void {
    try {
      this.#cache.read(kind, place, target, at)
    } catch (error) {
      throw this.#explain(error)
    }
  }

  readRow(
    place: Place,
    stride: number,
    count: number,
    target: Buffer,
    at: number,
    step: number,
  ): void {
    try {
      this.#cache.readRow(place, stride, count, target, at, step)
    } catch (error) {
      throw this.#explain(error)
    }
  }

  prefetch(segment: number, offset: number, size: number): void {
    this.#cache.prefetch(segment, offset, size)
  }

  flush(): void {}

  commit(): number {
    throw readOnly()
  }

  checkpoint(): void {
    throw readOnly()
  }

  segments(): SegmentInfo[] {
    const { table, head } = this.#recovered
    return [...table.values()].map(({ number, end, generation }) => ({
      segment: number,
      size: end,
      sealed: true,
      stale: generation !== head.id.generation,
    }))
  }

  release(): void {
    throw readOnly()
  }

  frames(segment: number, visit: (kind: FrameKind, place: Readonly<Place>) => void): void {
    const entry = this.#recovered.table.get(segment)
    if (entry === undefined) throw new TypeError(`the volume has no segment ${segment}`)
    try {
      const scanned = openScanned(this.#context, entry, false)
      try {
        visitFrames(scanned, entry, visit)
      } finally {
        closeScanned(this.#context, scanned)
      }
    } catch (error) {
      throw this.#explain(error)
    }
  }

  /** Checks every byte on the disk: see `verifySegments`. */
  verify(
    onFinding: (finding: Finding) => void,
    onProgress?: (progress: VerifyProgress) => void,
  ): void {
    verifySegments(this.#context, this.#recovered.table, onFinding, onProgress)
  }

  space(): StoreSpace {
    return { total: this.#context.disk.space().total, left: { none: 0, some: 0, most: 0, all: 0 } }
  }

  tick(): number {
    return 1000
  }

  close(): void {
    this.#cache.close()
  }

  #keyless(id: SegmentId, verified: boolean): KeylessOpener {
    const entry = this.#recovered.table.get(id.number)
    if (!verified || entry === undefined) return new KeylessOpener(undefined)
    const scanned = openScanned(this.#context, id, false)
    try {
      const hashes = listedHashes(scanned, entry)
      return new KeylessOpener((offset) => hashes.at(offset))
    } finally {
      closeScanned(this.#context, scanned)
    }
  }

  #explain(error: unknown): unknown {
    const missing = error instanceof CofferError && error.facts["attack"] === "deleted"
    if (!missing || !this.#superseded()) return error
    return new CofferError(
      "io",
      "the volume was written since it was opened, and an old segment is gone",
      {
        reason: "superseded",
        facts: { errno: "ESTALE" },
        hint: "open the volume again",
        cause: error,
      },
    )
  }
}

function readOnly(): CofferError {
  return new CofferError("io", "the volume is open for reading only", {
    facts: { errno: "EROFS" },
    reason: "read-only",
  })
}
