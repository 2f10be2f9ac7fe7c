import { equalBytes, toHex } from "../../bytes/index.ts"
import { CofferError, fromSystem, isErrno } from "../../errors.ts"
import type { ScannedSegment } from "./chain.ts"
import { type FrameOpener, KeylessOpener, SegmentCipher } from "./cipher.ts"
import type { Disk } from "./disk.ts"
import {
  decodeSegmentHeader,
  type SegmentId,
  segmentHeaderSize,
  segmentName,
  type VolumeHeader,
} from "./format.ts"
import { type KeyRing, segmentHeaderBytes } from "./keys.ts"
import { SegmentScan } from "./scan.ts"

/** What every part of an open volume shares. */
export interface VolumeContext {
  readonly disk: Disk
  readonly header: VolumeHeader
  /** Undefined: an authenticated volume that is read without its key. */
  readonly keys: KeyRing | undefined
}

export function segmentPath(salt: Uint8Array): string {
  return `segments/${segmentName(salt)}`
}

/** Opens the file of a segment that the chain names. An absent file, or a header that is not the chain's, is an `integrity` error. */
export function openSegmentFile(context: VolumeContext, id: SegmentId): number {
  const { disk } = context
  const name = segmentPath(id.salt)
  let fd: number
  try {
    fd = disk.open(name)
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw fromSystem(error, `${disk.path}/${name}`)
    throw damaged(id, "wanted its file, found none", "deleted")
  }
  const have = Buffer.alloc(segmentHeaderSize)
  const size = disk.read(fd, have, 0, segmentHeaderSize, 0)
  if (size === segmentHeaderSize && isHeaderOf(context, id, have)) return fd
  disk.close(fd)
  throw damaged(id, "its header is not the one that the chain names", "changed")
}

function isHeaderOf({ keys, header }: VolumeContext, id: SegmentId, have: Buffer): boolean {
  if (keys !== undefined)
    return equalBytes(segmentHeaderBytes(keys.get(id.generation), header, id), have)
  const found = decodeSegmentHeader(have)
  return (
    found?.number === id.number &&
    found.generation === id.generation &&
    equalBytes(found.salt, id.salt)
  )
}

/** What verifies the frames of a segment, with the key; without it, nothing does before the chain has. */
export function openerOf({ keys, header }: VolumeContext, id: SegmentId): FrameOpener {
  return keys === undefined
    ? new KeylessOpener(undefined)
    : new SegmentCipher(keys.get(id.generation), header, id.salt)
}

export function damaged(id: SegmentId, what: string, attack: string): CofferError {
  return new CofferError("integrity", `segment ${id.number}: ${what}`, {
    reason: "damaged-segment",
    facts: { segment: id.number, file: segmentPath(id.salt), attack },
    hint: `the file segments/${toHex(id.salt)} was ${attack}: restore the volume's directory from a backup`,
  })
}

/** Opens a segment for a walk; the caller closes it with `closeScanned`. */
export function openScanned(
  context: VolumeContext,
  id: SegmentId,
  reload: boolean,
): ScannedSegment {
  if (reload) reloadSegment(context.disk, id)
  const fd = openSegmentFile(context, id)
  return {
    id,
    scan: new SegmentScan(context.disk, fd),
    opener: openerOf(context, id),
    listed: context.header.protection === "authenticated",
  }
}

// A process before us may have left pages that are not on the disk, and after a failed fdatasync even clean ones: what
// is taken for the volume's state must be what the disk has.
function reloadSegment(disk: Disk, id: SegmentId): void {
  try {
    disk.reload(segmentPath(id.salt))
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw fromSystem(error, `${disk.path}/${segmentPath(id.salt)}`)
  }
}

export function closeScanned(context: VolumeContext, segment: ScannedSegment): void {
  segment.opener.close()
  context.disk.close(segment.scan.fd)
}
