/**
 * What the filesystem half of a volume asks of its store: an append-only, authenticated log of frames in segments.
 * Hot path: places are plain numbers, payloads stand in caller's buffers.
 * Implementations: `store/open.ts` (`createStore`, `openStore`, `openStoreForReading`) and, for tests, `store/memory-store.ts`.
 */

/** What a frame holds. It is in the AAD, so a frame of one kind never passes for another. */
export type FrameKind = "data" | "index" | "commit"

/** Where a frame is. `segment` is a number of the authenticated segment table, never used again; `size` counts payload bytes. */
export interface Place {
  segment: number
  offset: number
  size: number
}

export interface SegmentInfo {
  readonly segment: number
  /** Bytes of the file that hold frames and header. */
  readonly size: number
  /** True when no more frames are appended to it. */
  readonly sealed: boolean
  /** True when it is under an older key: compaction should move its frames before others. */
  readonly stale: boolean
}

/** What a store recovers when it is opened: the state of the last checkpoint, then the records of each commit after it, in order. */
export interface Recovery {
  readonly checkpoint: Uint8Array | undefined
  readonly records: Iterable<Uint8Array>
}

/**
 * Of the reserve that the store keeps on a full disk: none for what programs write, some for their changes without data,
 * most for compaction, which must leave what a checkpoint needs, and all for what was taken when there was room, or deletes.
 */
export type ReserveUse = "none" | "some" | "most" | "all"

/** Bytes of the backing disk. */
export interface StoreSpace {
  readonly total: number
  /** What may still be written by each use of the reserve: `none` is what programs call free. */
  readonly left: Readonly<Record<ReserveUse, number>>
}

export interface FrameStore {
  /**
   * Queues one frame (at most 1 MiB); the payload is copied, `out` is its final place and can be read at once. It
   * becomes durable with the next commit that is synced. A full disk is an `io` CofferError with `facts.errno` "ENOSPC"
   * here, before anything is queued; other I/O errors surface at `flush`, `commit` or here.
   */
  append(kind: "data" | "index", payload: Buffer, at: number, size: number, out: Place): void
  /** How much of the reserve data frames may use now; index and commit frames may use all of it. */
  reserveUse: ReserveUse
  /** Fills `target` with the whole payload of a frame. A frame that does not verify is an `integrity` CofferError with facts. */
  read(kind: "data" | "index", place: Place, target: Buffer, at: number): void
  /**
   * As `read` for data frames of one size in a row: `count` of them, `stride` bytes apart from `place` on, go to `target`
   * from `at`, `step` bytes apart. A payload larger than `step` is overwritten there by the next one.
   */
  readRow?(
    place: Place,
    stride: number,
    count: number,
    target: Buffer,
    at: number,
    step: number,
  ): void
  /** Bytes of a segment that will be read soon: starts the disk and waits for nothing. A hint. */
  prefetch?(segment: number, offset: number, size: number): void
  /** Writes what is queued to the file without a commit and without fdatasync, to bound memory. */
  flush(): void
  /**
   * Ends the current set of changes: one commit frame with the filesystem's records. `sync`: written and fdatasync'ed
   * (and, with an anchor in strict mode, anchored) when this returns. Atomic: after a crash all of it is there, or nothing.
   * Records may have any size. An `io` error here means that nothing can be written any more (the store is read-only,
   * reads go on); a `rollback` error that another writer has taken the volume.
   */
  commit(records: Uint8Array, sync: boolean): void
  /** Like a synced commit, but also says that replay starts here: `state` (at most 64 KiB) stands for all before. Index frames appended before are part of it. */
  checkpoint(state: Uint8Array): void
  /** Bytes of log since the last checkpoint: what a mount would have to replay. */
  readonly logSize: number
  segments(): SegmentInfo[]
  /**
   * The filesystem needs no frame of this sealed segment any more, from the next commit on. The store deletes the file
   * when invariant 7 allows, never before the next checkpoint. A released segment is not in `segments()` any more.
   */
  release(segment: number): void
  /** Visits every frame of a segment with kind and place, without decrypting: for compaction and verification. */
  frames(segment: number, visit: (kind: FrameKind, place: Readonly<Place>) => void): void
  space(): StoreSpace
  /** Housekeeping: deferred deletion, periodic anchoring. Returns milliseconds until it wants to be called again. */
  tick(nowMs: number): number
  close(): void
}
