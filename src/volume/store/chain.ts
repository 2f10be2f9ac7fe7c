import { equalBytes } from "../../bytes/index.ts"
import { Sha256 } from "../../crypto/index.ts"
import { CofferError } from "../../errors.ts"
import type { FrameOpener } from "./cipher.ts"
import { type Commit, commitTag, decodeCommit } from "./commit.ts"
import {
  commitKind,
  frameHeaderSize,
  maxPayloadSize,
  type SegmentId,
  segmentHeaderSize,
} from "./format.ts"
import type { SegmentScan } from "./scan.ts"

/** A segment under examination: where its bytes are, and what verifies them. */
export interface ScannedSegment {
  readonly id: SegmentId
  readonly scan: SegmentScan
  readonly opener: FrameOpener
  /** The volume is an authenticated one: commits list hashes. */
  readonly listed: boolean
}

/** A commit that verified as a frame; whether it is in its place in the chain is the walk's to say. */
export interface FoundCommit {
  readonly commit: Commit
  readonly tag: Uint8Array
  readonly offset: number
  readonly end: number
}

/** The commit frame at `offset`; undefined when there is none that verifies. */
export function commitAt(segment: ScannedSegment, offset: number): FoundCommit | undefined {
  const { scan, opener, id } = segment
  if (!scan.frame(offset, true) || scan.kind !== commitKind) return undefined
  const { payloadSize, headerAt, window } = scan
  const payload = Buffer.allocUnsafe(payloadSize)
  if (!opener.open(window, headerAt, commitKind, payloadSize, offset, payload, 0)) return undefined
  const end = offset + frameHeaderSize + payloadSize
  const commit = decodeOrNothing(payload, segment.listed)
  if (commit === undefined) return undefined
  const { begin } = commit.items
  const first = offset === segmentHeaderSize
  if (first !== (begin !== undefined)) return undefined
  if (begin && (begin.number !== id.number || begin.generation !== id.generation)) return undefined
  const frame = window.subarray(headerAt, headerAt + end - offset)
  return { commit, tag: commitTag(commit.previous, frame), offset, end }
}

// Without a key nothing has verified the payload yet, so it may be anything.
function decodeOrNothing(payload: Uint8Array, listed: boolean): Commit | undefined {
  try {
    return decodeCommit(payload, listed)
  } catch (error) {
    if (error instanceof CofferError) return undefined
    throw error
  }
}

/** Where in the chain a walk stands: after the commit with this sequence and tag. */
export interface ChainPoint {
  readonly sequence: number
  readonly tag: Uint8Array
  /** The offset of the next frame. */
  readonly end: number
}

const payloadScratch = Buffer.allocUnsafeSlow(maxPayloadSize)
const framesPerUpdate = 1024

/**
 * The chain's next commit after `point` in this segment: each frame up to it is under its digest, it follows `point`'s
 * sequence and tag. `full`: each frame's payload verifies too. Undefined where the chain ends, for whatever reason.
 */
export function nextCommit(
  segment: ScannedSegment,
  point: ChainPoint,
  full: boolean,
): FoundCommit | undefined {
  const { scan, opener } = segment
  const digest = new Sha256()
  const headers = Buffer.allocUnsafe(frameHeaderSize * framesPerUpdate)
  let pending = 0
  let count = 0
  let offset = point.end
  while (scan.frame(offset, full) && scan.kind !== commitKind) {
    const { kind, payloadSize, headerAt, window } = scan
    if (full && !opener.open(window, headerAt, kind, payloadSize, offset, payloadScratch, 0))
      return undefined
    window.copy(headers, pending * frameHeaderSize, headerAt, headerAt + frameHeaderSize)
    pending += 1
    count += 1
    if (pending === framesPerUpdate) {
      digest.update(headers)
      pending = 0
    }
    offset += frameHeaderSize + payloadSize
  }
  digest.update(headers.subarray(0, pending * frameHeaderSize))
  const found = commitAt(segment, offset)
  if (found === undefined) return undefined
  const { commit } = found
  const follows =
    commit.sequence === point.sequence + 1 &&
    equalBytes(commit.previous, point.tag) &&
    commit.frameCount === count &&
    equalBytes(commit.digest, digest.digest())
  return follows ? found : undefined
}
