import { equalBytes } from "../../bytes/index.ts"
import type { FrameKind, Place } from "../frame-store.ts"
import { type ChainPoint, commitAt, nextCommit, type ScannedSegment } from "./chain.ts"
import type { TableEntry } from "./commit.ts"
import { frameHeaderSize, kindName, segmentHeaderSize } from "./format.ts"
import { damaged } from "./segments.ts"

/**
 * Every frame of a sealed segment in its order. First the segment's whole chain is walked, up to the last tag that the
 * segment table gives: so each frame's place and kind are those that were written, or this is an `integrity` error.
 */
export function visitFrames(
  segment: ScannedSegment,
  entry: TableEntry,
  visit: (kind: FrameKind, place: Readonly<Place>) => void,
): void {
  verifyChain(segment, entry)
  const { scan } = segment
  let offset = segmentHeaderSize
  while (offset < entry.end) {
    const kind = scan.frame(offset, false) ? kindName(scan.kind) : undefined
    if (kind === undefined)
      throw damaged(entry, `its frame at ${offset} does not verify`, "changed")
    const size = scan.payloadSize
    visit(kind, { segment: entry.number, offset, size })
    offset += frameHeaderSize + size
  }
}

/** Walks the commits of a segment from its first to the one that the table names. */
export function verifyChain(segment: ScannedSegment, entry: TableEntry): void {
  const first = commitAt(segment, segmentHeaderSize)
  if (first === undefined) throw damaged(entry, "its first commit does not verify", "changed")
  let point: ChainPoint = { ...first, sequence: first.commit.sequence }
  while (point.end < entry.end) {
    const found = nextCommit(segment, point, false)
    if (found === undefined)
      throw damaged(entry, `its chain from offset ${point.end} on does not verify`, "changed")
    point = { ...found, sequence: found.commit.sequence }
  }
  if (point.end !== entry.end || !equalBytes(point.tag, entry.lastTag))
    throw damaged(entry, "its last commit is not the one that the segment table names", "changed")
}
