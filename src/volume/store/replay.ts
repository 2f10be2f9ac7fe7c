import { concatBytes, equalBytes } from "../../bytes/index.ts"
import { CofferError } from "../../errors.ts"
import {
  type ChainPoint,
  commitAt,
  type FoundCommit,
  nextCommit,
  type ScannedSegment,
} from "./chain.ts"
import type { CheckpointRef, TableEntry, WrappedKey } from "./commit.ts"
import { type SegmentId, segmentHeaderSize } from "./format.ts"
import { unwrapOldKey } from "./keys.ts"
import { closeScanned, damaged, openScanned, type VolumeContext } from "./segments.ts"

/** The state of a volume at one commit: what a store starts from. */
export interface Recovered {
  readonly head: Head
  readonly checkpoint: CheckpointRef
  /** What the filesystem gave to that checkpoint; undefined in a volume that never had one. */
  readonly state: Uint8Array | undefined
  /** The sets of changes since, in their order. */
  readonly records: readonly Uint8Array[]
  /** Every segment in use, the head's own too, up to its last commit that counts. */
  readonly table: ReadonlyMap<number, TableEntry>
  readonly logSize: number
  readonly wrappedKeys: readonly WrappedKey[]
  /** The epoch of the last writer. */
  readonly epoch: number
  /** The newest word of the anchor's keeper in the chain. */
  readonly seen?: Uint8Array
}

export interface Head {
  readonly id: SegmentId
  readonly sequence: number
  readonly tag: Uint8Array
  readonly offset: number
  readonly end: number
}

/** A commit to start from: it verified as a frame, and with an anchor by its tag. */
export interface Candidate {
  readonly id: SegmentId
  readonly found: FoundCommit
}

export interface ReplayBounds {
  /** Commits up to this one are known to have been on the disk: what is wrong there is damage, not a torn write. */
  readonly durable: number
  /** Nothing after this one counts. */
  readonly last: number
  /** The disk's pages may be newer than the disk: read again. */
  readonly reload: boolean
}

const maxPathSegments = 100_000

/** Collects what commits say, in the order of the chain. */
class Replay {
  readonly #context: VolumeContext
  #table = new Map<number, TableEntry>()
  #records: Uint8Array[] = []
  #parts: Uint8Array[] = []
  #state: Uint8Array | undefined
  #checkpoint: CheckpointRef | undefined
  #wrapped: readonly WrappedKey[] = []
  #logSize = 0
  #epoch = 0
  #seen: Uint8Array | undefined
  #head: Head | undefined
  #next: SegmentId | undefined

  constructor(context: VolumeContext) {
    this.#context = context
  }

  get head(): Head | undefined {
    return this.#head
  }

  /** The segment that the newest commit says follows. */
  get next(): SegmentId | undefined {
    return this.#next
  }

  apply(id: SegmentId, found: FoundCommit): void {
    const { commit, tag, offset, end } = found
    const { sequence, flags, items, records } = commit
    const from = this.#head?.id.number === id.number ? this.#head.end : 0
    this.#logSize += end - from
    this.#head = { id, sequence, tag, offset, end }
    this.#next = items.next
    if (items.open !== undefined) {
      this.#epoch = items.open.epoch
      this.#parts = [] // a set that its writer could not finish
    }
    if (items.keys !== undefined) this.#wrapped = items.keys
    this.#seen = items.seen ?? this.#seen
    if (flags.checkpoint === true) {
      this.#checkpoint = { sequence, tag, segment: id.number, offset }
      this.#table = new Map((items.table ?? []).map((entry) => [entry.number, entry]))
      this.#wrapped = items.keys ?? []
      this.#state = records.length === 0 ? undefined : records
      this.#records = []
      this.#parts = []
      this.#logSize = 0
    }
    if (flags.changes === true) {
      this.#parts.push(records)
      if (flags.more === true) return
      const set = concatBytes(...this.#parts.splice(0))
      if (set.length > 0) this.#records.push(set)
    }
  }

  /** No commit of this segment follows. */
  leave(): void {
    const head = this.#head
    if (head === undefined) return
    const { id, end, tag } = head
    this.#table.set(id.number, { ...id, end, lastTag: tag })
  }

  /** Keys that the volume keeps for its older segments, as soon as one of their wrappings has been seen. */
  learn(id: SegmentId, found: FoundCommit): void {
    const { keys, header } = this.#context
    if (keys === undefined) return
    for (const wrapped of found.commit.items.keys ?? [])
      if (!keys.has(wrapped.generation))
        keys.add(wrapped.generation, unwrapOldKey(keys.get(id.generation), header, wrapped))
  }

  done(): Recovered {
    const [head, checkpoint] = [this.#head, this.#checkpoint]
    if (head === undefined || checkpoint === undefined)
      throw new CofferError(
        "integrity",
        "wanted a checkpoint at the start of the chain, found none",
      )
    this.leave()
    return {
      head,
      checkpoint,
      state: this.#state,
      records: this.#records,
      table: this.#table,
      logSize: this.#logSize,
      wrappedKeys: this.#wrapped,
      epoch: this.#epoch,
      ...(this.#seen === undefined ? {} : { seen: this.#seen }),
    }
  }
}

interface PathSegment {
  readonly id: SegmentId
  /** Where its last commit ends; undefined in the last segment. */
  readonly end: number | undefined
}

/** From `start`'s commit forward: the chain as far as it verifies within `bounds`. Damage before `bounds.durable` is an `integrity` error. */
export function replay(
  context: VolumeContext,
  start: Candidate,
  checkpoint: CheckpointRef,
  bounds: ReplayBounds,
): Recovered {
  const state = new Replay(context)
  state.learn(start.id, start.found)
  const path = pathBack(context, start, checkpoint, state)
  for (const segment of path) {
    const whole = walkSegment(context, segment, checkpoint, bounds, state)
    if (!whole) return state.done()
  }
  walkOn(context, bounds, state)
  return state.done()
}

function pathBack(
  context: VolumeContext,
  start: Candidate,
  checkpoint: CheckpointRef,
  state: Replay,
): PathSegment[] {
  const path: PathSegment[] = [{ id: start.id, end: undefined }]
  for (;;) {
    const [{ id }] = path as [PathSegment]
    if (id.number === checkpoint.segment) return path
    const segment = openScanned(context, id, false)
    const first = commitAt(segment, segmentHeaderSize)
    closeScanned(context, segment)
    const previous = first?.commit.items.begin?.previous
    if (first === undefined || previous === undefined || previous.number >= id.number)
      throw damaged(id, "its first commit does not verify", "changed")
    if (path.length > maxPathSegments)
      throw damaged(id, "it is too far from a checkpoint", "changed")
    state.learn(id, first)
    path.unshift({ id: previous, end: previous.end })
  }
}

/** False: the chain ends within this segment, before the path's next one. */
function walkSegment(
  context: VolumeContext,
  { id, end }: PathSegment,
  checkpoint: CheckpointRef,
  bounds: ReplayBounds,
  state: Replay,
): boolean {
  const segment = openScanned(context, id, bounds.reload)
  try {
    if (state.head === undefined) {
      const found = commitAt(segment, checkpoint.offset)
      if (found === undefined || !equalBytes(found.tag, checkpoint.tag))
        throw damaged(id, "its checkpoint does not verify", "changed")
      state.learn(id, found)
      state.apply(id, found)
    }
    walkCommits(segment, bounds, state, end)
  } finally {
    closeScanned(context, segment)
  }
  const { head } = state
  const reached = head?.id.number === id.number ? head.end : 0
  const whole = end === undefined || reached === end
  const sequence = head?.sequence ?? 0
  if (sequence < bounds.durable && (!whole || end === undefined))
    throw damaged(id, `its bytes from offset ${reached} on do not verify`, "changed")
  state.leave()
  return whole
}

/** `end`: what follows there is a dead branch, also when it verifies. */
function walkCommits(
  segment: ScannedSegment,
  bounds: ReplayBounds,
  state: Replay,
  end: number | undefined,
): void {
  for (;;) {
    const { head } = state
    if (head === undefined || head.sequence >= bounds.last) return
    const here = head.id.number === segment.id.number
    if (here && (head.end === end || state.next !== undefined)) return
    const point: ChainPoint = here ? head : { ...head, end: segmentHeaderSize }
    const found = nextCommit(segment, point, head.sequence >= bounds.durable)
    if (found === undefined) return
    state.apply(segment.id, found)
  }
}

/** Into the segments that follow the path: written, but not known to be durable, so what does not verify ends the chain. */
function walkOn(context: VolumeContext, bounds: ReplayBounds, state: Replay): void {
  for (;;) {
    const { next, head } = state
    if (next === undefined || head === undefined || head.sequence >= bounds.last) return
    let segment: ScannedSegment
    try {
      segment = openScanned(context, next, bounds.reload)
    } catch (error) {
      if (error instanceof CofferError && error.code === "integrity") return
      throw error
    }
    try {
      walkCommits(segment, bounds, state, undefined)
    } finally {
      closeScanned(context, segment)
    }
    if (state.head === head) return
    state.leave()
  }
}
