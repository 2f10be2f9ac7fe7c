import { equalBytes } from "../../bytes/index.ts"
import { CofferError, isErrno } from "../../errors.ts"
import type { FrameKind } from "../frame-store.ts"
import { commitAt, type ScannedSegment } from "./chain.ts"
import type { TableEntry } from "./commit.ts"
import {
  decodeSegmentHeader,
  frameHeaderSize,
  kindName,
  maxPayloadSize,
  segmentHeaderSize,
  segmentName,
} from "./format.ts"
import { closeScanned, openScanned, segmentPath, type VolumeContext } from "./segments.ts"
import { verifyChain } from "./visit.ts"

/** What an examination of the disk found. `dead`: bytes that nothing names, so nothing that is read is affected. */
export type Finding =
  | {
      readonly what: "damage"
      readonly segment: number
      readonly file: string
      /** Bytes of the file that do not verify. */
      readonly offset: number
      readonly size: number
      /** Of a frame whose header still says it. */
      readonly kind: FrameKind | undefined
      /** What it looks like. */
      readonly attack: Attack
    }
  | { readonly what: "dead"; readonly file: string; readonly offset: number; readonly size: number }

export type Attack =
  /** The file is not there. */
  | "deleted"
  /** The file ends before what was written. */
  | "truncated"
  /** The file is another segment of this or another volume, or an older branch of this one. */
  | "replaced"
  /** Bytes were changed. */
  | "changed"

export interface VerifyProgress {
  readonly done: number
  readonly total: number
}

/** Checks every byte that the volume's state names, and names every other. Calls `onFinding` for each thing that is wrong or dead. */
export function verifySegments(
  context: VolumeContext,
  table: ReadonlyMap<number, TableEntry>,
  onFinding: (finding: Finding) => void,
  onProgress: (progress: VerifyProgress) => void = () => undefined,
): void {
  const entries = [...table.values()].toSorted((a, b) => a.number - b.number)
  const total = entries.reduce((sum, { end }) => sum + end, 0)
  let done = 0
  for (const entry of entries) {
    verifySegment(context, entry, onFinding)
    done += entry.end
    onProgress({ done, total })
  }
  const known = new Set(entries.map(({ salt }) => segmentName(salt)))
  for (const name of context.disk.segments().toSorted())
    if (!known.has(name)) dead(context, `segments/${name}`, 0, onFinding)
}

function dead(
  context: VolumeContext,
  file: string,
  offset: number,
  onFinding: (finding: Finding) => void,
): void {
  const fd = context.disk.open(file)
  const size = context.disk.size(fd) - offset
  context.disk.close(fd)
  if (size > 0 || offset === 0) onFinding({ what: "dead", file, offset, size })
}

function verifySegment(
  context: VolumeContext,
  entry: TableEntry,
  onFinding: (finding: Finding) => void,
): void {
  const file = segmentPath(entry.salt)
  const whole = { what: "damage", segment: entry.number, file, offset: 0, kind: undefined } as const
  let segment: ScannedSegment
  try {
    segment = openScanned(context, entry, false)
  } catch (error) {
    if (!(error instanceof CofferError) || error.code !== "integrity") throw error
    onFinding({ ...whole, size: entry.end, attack: headerAttack(context, entry) })
    return
  }
  try {
    verifyFrames(segment, entry, onFinding)
    if (segment.scan.size > entry.end) dead(context, file, entry.end, onFinding)
  } finally {
    closeScanned(context, segment)
  }
}

function headerAttack(context: VolumeContext, entry: TableEntry): Attack {
  let fd: number
  try {
    fd = context.disk.open(segmentPath(entry.salt))
  } catch (error) {
    if (isErrno(error, "ENOENT")) return "deleted"
    throw error
  }
  const bytes = Buffer.alloc(segmentHeaderSize)
  const size = context.disk.read(fd, bytes, 0, segmentHeaderSize, 0)
  context.disk.close(fd)
  if (size < segmentHeaderSize) return "truncated"
  const found = decodeSegmentHeader(bytes)
  return found !== undefined && !equalBytes(found.salt, entry.salt) ? "replaced" : "changed"
}

const scratch = Buffer.allocUnsafeSlow(maxPayloadSize)

function verifyFrames(
  segment: ScannedSegment,
  entry: TableEntry,
  onFinding: (finding: Finding) => void,
): void {
  const { scan, opener } = segment
  const found = { what: "damage", segment: entry.number, file: segmentPath(entry.salt) } as const
  let count = 0
  const report = (offset: number, size: number, attack: Attack, kind?: FrameKind) => {
    count += 1
    onFinding({ ...found, offset, size, kind, attack })
  }
  let offset = segmentHeaderSize
  while (offset < entry.end) {
    if (!scan.frame(offset, true) || offset + frameHeaderSize + scan.payloadSize > entry.end) {
      const next = nextCommitAfter(segment, offset, entry.end)
      report(offset, next - offset, scan.size < entry.end ? "truncated" : "changed")
      offset = next
      continue
    }
    const { kind, payloadSize, headerAt, window } = scan
    const size = frameHeaderSize + payloadSize
    if (!opener.open(window, headerAt, kind, payloadSize, offset, scratch, 0))
      report(offset, size, "changed", kindName(kind))
    offset += size
  }
  if (count > 0) return
  // Each frame alone verifies. Are they the frames that the chain says, and all of them?
  try {
    verifyChain(segment, entry)
  } catch (error) {
    if (!(error instanceof CofferError)) throw error
    report(segmentHeaderSize, entry.end - segmentHeaderSize, "replaced")
  }
}

/** Where the walk can go on after damage: at the next commit that verifies, or at the end. */
function nextCommitAfter(segment: ScannedSegment, offset: number, end: number): number {
  let at = segment.scan.findCommit(offset + 1)
  while (at !== undefined && at < end) {
    if (commitAt(segment, at) !== undefined) return at
    at = segment.scan.findCommit(at + 1)
  }
  return end
}
