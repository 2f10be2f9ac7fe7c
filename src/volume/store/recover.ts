import { equalBytes, isZero, toHex } from "../../bytes/index.ts"
import { CofferError } from "../../errors.ts"
import type { AnchorState } from "./anchor.ts"
import { commitAt, type FoundCommit, type ScannedSegment } from "./chain.ts"
import {
  commitKind,
  decodeSegmentHeader,
  frameHeaderSize,
  maxPayloadSize,
  type SegmentHeader,
  segmentHeaderSize,
  segmentName,
} from "./format.ts"
import { keyFits } from "./keys.ts"
import { type Candidate, type Recovered, type ReplayBounds, replay } from "./replay.ts"
import { SegmentScan } from "./scan.ts"
import { closeScanned, openerOf, openScanned, segmentPath, type VolumeContext } from "./segments.ts"

/** The state that counts: at the anchored tag (`read`), or at the end of the longest valid chain from there on (`write`). */
export function recoverAnchored(
  context: VolumeContext,
  anchored: AnchorState,
  access: "read" | "write",
): Recovered {
  if (!equalBytes(anchored.volumeId, context.header.id))
    throw new CofferError(
      "rollback",
      `wanted volume ${toHex(anchored.volumeId)}, found ${toHex(context.header.id)}`,
      { hint: "this directory holds another volume than the anchor knows", reason: "other-volume" },
    )
  const start = isZero(anchored.salt)
    ? soughtCommit(context, anchored)
    : anchoredCommit(context, anchored)
  const { flags, checkpoint, sequence } = start.found.commit
  const { tag, offset } = start.found
  const own = { sequence, tag, segment: start.id.number, offset }
  const exact = access === "read" || anchored.restoredFrom !== undefined
  const last = exact ? sequence : Number.MAX_SAFE_INTEGER
  const bounds: ReplayBounds = { durable: sequence, last, reload: access === "write" }
  return replay(context, start, flags.checkpoint === true ? own : checkpoint, bounds)
}

function anchoredCommit(context: VolumeContext, anchored: AnchorState): Candidate {
  const header = readSegmentHeader(context, segmentName(anchored.salt))
  if (header === undefined || !equalBytes(header.salt, anchored.salt)) {
    if (!context.disk.segments().includes(segmentName(anchored.salt)))
      throw lost(anchored, "its segment is not there")
    throw damagedHead(anchored, "a whole segment header", "another or none")
  }
  learnGeneration(context, header)
  const segment = openScanned(context, header, false)
  try {
    const found = commitAt(segment, anchored.offset)
    if (found !== undefined && equalBytes(found.tag, anchored.tag)) return { id: header, found }
    if (segment.scan.size <= anchored.offset) throw lost(anchored, "its segment ends before it")
    throw damagedHead(anchored, "the anchored tag", "another or none")
  } finally {
    closeScanned(context, segment)
  }
}

/** People give a tag alone: every commit is looked at. */
function soughtCommit(context: VolumeContext, anchored: AnchorState): Candidate {
  const headers = fittingHeaders(context)
  for (const id of headers) {
    if (context.keys !== undefined && !context.keys.has(id.generation)) continue
    const found = commitWithTag(context, id, anchored.tag)
    if (found !== undefined) return { id, found }
  }
  throw lost(anchored, "no segment has it")
}

function commitWithTag(
  context: VolumeContext,
  id: SegmentHeader,
  tag: Uint8Array,
): FoundCommit | undefined {
  const segment = openScanned(context, id, false)
  try {
    return commitsOf(segment).find((found) => equalBytes(found.tag, tag))
  } finally {
    closeScanned(context, segment)
  }
}

function damagedHead(anchored: AnchorState, wanted: string, found: string): CofferError {
  const { sequence, salt, offset } = anchored
  return new CofferError("integrity", `commit ${sequence}: wanted ${wanted}, found ${found}`, {
    reason: "damaged-head",
    facts: { sequence, file: segmentPath(salt), offset, attack: "changed" },
    hint: "the volume's newest segment was changed: restore the directory from a backup",
  })
}

function lost(anchored: AnchorState, what: string): CofferError {
  return new CofferError(
    "rollback",
    `wanted commit ${anchored.sequence} with tag ${toHex(anchored.tag).slice(0, 16)}…: ${what}`,
    {
      reason: "rollback",
      facts: { sequence: anchored.sequence, tag: toHex(anchored.tag) },
      hint: "the volume's directory is older than its anchor, or is not the anchored volume",
    },
  )
}

// The user gives one key, the newest; which generation that is, the newest segment tells.
function learnGeneration(context: VolumeContext, header: SegmentHeader): void {
  const { keys } = context
  if (keys === undefined || keys.has(header.generation)) return
  if (!keys.learnNewest(header.generation, (key) => keyFits(key, context.header, header)))
    throw wrongKey()
}

function wrongKey(): CofferError {
  return new CofferError(
    "integrity",
    "the key does not fit this volume, or its headers were changed",
    {
      reason: "wrong-key",
      hint: "give the volume's newest key file",
    },
  )
}

/** The segment header in that file, if its bytes are one. */
export function readSegmentHeader(context: VolumeContext, name: string): SegmentHeader | undefined {
  const { disk } = context
  let fd: number
  try {
    fd = disk.open(`segments/${name}`)
  } catch {
    return undefined
  }
  try {
    const bytes = Buffer.alloc(segmentHeaderSize)
    const size = disk.read(fd, bytes, 0, segmentHeaderSize, 0)
    return decodeSegmentHeader(bytes.subarray(0, size))
  } finally {
    disk.close(fd)
  }
}

/**
 * Without an anchor: the newest state that the disk shows. Whole older states cannot be told from it; changed bytes can,
 * as far as a later commit shows that they were written.
 */
export function recoverUnanchored(context: VolumeContext, access: "read" | "write"): Recovered {
  const headers = fittingHeaders(context)
  let durable = 0
  let firstFault: CofferError | undefined
  for (const header of headers) {
    const start = newestCommit(context, header, access)
    if (start === undefined) continue
    durable = Math.max(durable, start.found.commit.durable)
    // A commit may have reached the disk when what it follows did not. Then an older one counts, but none that is older
    // than what was known to be durable.
    const recovered = attempt(() => recoverFrom(context, start, headers, access))
    if (!(recovered instanceof CofferError) && recovered.head.sequence >= durable) return recovered
    if (recovered instanceof CofferError) firstFault ??= recovered
  }
  if (firstFault !== undefined) throw firstFault
  throw new CofferError("integrity", "wanted a volume's segments, found none with a commit", {
    reason: "no-head",
    hint: "the volume's directory was emptied or its key is another: restore it from a backup",
  })
}

function attempt(work: () => Recovered): Recovered | CofferError {
  try {
    return work()
  } catch (error) {
    if (error instanceof CofferError && error.code === "integrity") return error
    throw error
  }
}

function recoverFrom(
  context: VolumeContext,
  start: Candidate,
  headers: readonly SegmentHeader[],
  access: "read" | "write",
): Recovered {
  const { id, found } = start
  const { checkpoint, durable, sequence, flags } = found.commit
  const own = { sequence, tag: found.tag, segment: id.number, offset: found.offset }
  const bounds = { durable, last: Number.MAX_SAFE_INTEGER, reload: access === "write" }
  if (sequence === 1) return replay(context, start, own, bounds)
  if (flags.checkpoint !== true || isThere(context, headers, checkpoint.segment))
    return replay(context, start, checkpoint, bounds)
  // The checkpoint before this one is deleted, which only happens when this one is durable.
  return replay(context, start, own, { ...bounds, durable: sequence })
}

function isThere(
  context: VolumeContext,
  headers: readonly SegmentHeader[],
  number: number,
): boolean {
  return headers.some((header) => {
    if (header.number !== number) return false
    return context.keys === undefined || context.keys.has(header.generation)
  })
}

function fittingHeaders(context: VolumeContext): SegmentHeader[] {
  const { disk, keys } = context
  const headers = disk
    .segments()
    .map((name) => ({ name, header: readSegmentHeader(context, name) }))
    .filter(({ name, header }) => {
      if (header !== undefined && segmentName(header.salt) === name) return true
      if (isBlank(context, name)) return false
      // It may be the newest segment, so to pass over it could hide the newest state.
      throw new CofferError(
        "integrity",
        `segments/${name}: wanted a segment's header, found something else`,
        {
          reason: "damaged-segment",
          facts: { file: `segments/${name}`, attack: "changed" },
        },
      )
    })
    .map(({ header }) => header)
    .filter((header) => header !== undefined)
    .toSorted((a, b) => b.number - a.number)
  const [newest] = headers.toSorted((a, b) => b.generation - a.generation || b.number - a.number)
  if (newest === undefined || keys === undefined) return headers
  learnGeneration(context, newest)
  for (const header of headers)
    if (
      header.generation === newest.generation &&
      !keyFits(keys.get(header.generation), context.header, header)
    )
      throw wrongKey()
  return headers
}

// A power cut may leave a new file empty, or its bytes zero.
function isBlank(context: VolumeContext, name: string): boolean {
  const { disk } = context
  const fd = disk.open(`segments/${name}`)
  try {
    const bytes = Buffer.alloc(segmentHeaderSize)
    return (
      disk.read(fd, bytes, 0, segmentHeaderSize, 0) < segmentHeaderSize ||
      bytes.every((b) => b === 0)
    )
  } finally {
    disk.close(fd)
  }
}

function newestCommit(
  context: VolumeContext,
  header: SegmentHeader,
  access: "read" | "write",
): Candidate | undefined {
  if (context.keys !== undefined && !context.keys.has(header.generation)) return undefined
  if (access === "write") context.disk.reload(segmentPath(header.salt))
  const fd = context.disk.open(segmentPath(header.salt))
  const segment: ScannedSegment = {
    id: header,
    scan: new SegmentScan(context.disk, fd),
    opener: openerOf(context, header),
    listed: context.header.protection === "authenticated",
  }
  try {
    let last: FoundCommit | undefined
    for (const found of commitsOf(segment)) last = found
    return last && { id: header, found: last }
  } finally {
    closeScanned(context, segment)
  }
}

const payloadScratch = Buffer.allocUnsafeSlow(maxPayloadSize)

/** From frame to frame; where one does not verify, wherever the next commit could stand: damage must not hide what follows. */
function* commitsOf(segment: ScannedSegment): Generator<FoundCommit> {
  const { scan, opener } = segment
  let offset: number | undefined = segmentHeaderSize
  while (offset !== undefined) {
    const whole = scan.frame(offset, true)
    const { kind, payloadSize, headerAt, window } = scan
    if (whole && kind !== commitKind) {
      // The size is the disk's word until the frame verifies: a changed one would lead past the next commit.
      const genuine = opener.open(window, headerAt, kind, payloadSize, offset, payloadScratch, 0)
      offset = genuine ? offset + frameHeaderSize + payloadSize : scan.findCommit(offset + 1)
      continue
    }
    const found = whole ? commitAt(segment, offset) : undefined
    if (found !== undefined) yield found
    offset = found?.end ?? scan.findCommit(offset + 1)
  }
}
