// Hot path: the frame header is read and written in place. Byte tables of spec/volume.md, sections 2 to 4.
import {
  Cursor,
  concatBytes,
  equalBytes,
  type StructTable,
  toHex,
  utf8,
} from "../../bytes/index.ts"
import { sha256 } from "../../crypto/index.ts"
import { CofferError } from "../../errors.ts"
import type { FrameKind } from "../frame-store.ts"

export type Protection = "encrypted" | "authenticated"

export const formatVersion = 1
export const maxSegmentSize = 256 * 1024 * 1024
export const maxPayloadSize = 1024 * 1024
export const maxStateSize = 64 * 1024
/** Frames between two commits: bounds what a commit of an authenticated volume lists. */
export const maxFramesPerCommit = 8192
/** Entries of a segment table, so that it fits into one commit. */
export const maxSegmentCount = 12_000

export const volumeHeaderTable: StructTable = [
  ["magic", 0, 8],
  ["version", 8, 4],
  ["protection", 12, 4],
  ["volume id", 16, 32],
  ["zero", 48, 48],
  ["checksum", 96, 32],
]
export const volumeHeaderSize = 128
const volumeMagic = utf8("COFFERV\0")

export interface VolumeHeader {
  readonly id: Uint8Array
  readonly protection: Protection
  /** SHA-256 of the header's bytes: part of every key. */
  readonly hash: Uint8Array
}

const protectionCodes: Readonly<Record<Protection, number>> = { encrypted: 1, authenticated: 2 }

function u32(...values: readonly number[]): Uint8Array {
  const out = Buffer.alloc(4 * values.length)
  for (const [i, value] of values.entries()) out.writeUInt32LE(value, 4 * i)
  return out
}

export function encodeVolumeHeader(id: Uint8Array, protection: Protection): Uint8Array {
  const numbers = u32(formatVersion, protectionCodes[protection])
  const start = concatBytes(volumeMagic, numbers, id, new Uint8Array(48))
  return concatBytes(start, sha256(start))
}

export function decodeVolumeHeader(bytes: Uint8Array): VolumeHeader {
  const cursor = new Cursor(bytes, "volume header")
  cursor.expect(volumeMagic, "magic")
  const version = cursor.u32("version")
  const protectionCode = cursor.u32("protection")
  const id = Uint8Array.from(cursor.bytes(32, "volume id"))
  const zero = cursor.bytes(48, "zero")
  cursor.expect(sha256(bytes.subarray(0, 96)), "checksum")
  // The checksum fits, so this is no accident: another version wrote it.
  if (version !== formatVersion)
    throw new CofferError(
      "config",
      `volume header: wanted format version ${formatVersion}, found ${version}`,
      { hint: "use the coffer version that made this volume, or a newer one" },
    )
  if (zero.some((byte) => byte !== 0)) throw cursor.fault("zero", "48 zero bytes", toHex(zero))
  cursor.end()
  const protection =
    protectionCode === 1 ? "encrypted" : protectionCode === 2 ? "authenticated" : undefined
  if (protection === undefined) throw cursor.fault("protection", "1 or 2", String(protectionCode))
  return { id, protection, hash: sha256(bytes) }
}

export const segmentHeaderTable: StructTable = [
  ["magic", 0, 8],
  ["version", 8, 4],
  ["generation", 12, 4],
  ["number", 16, 4],
  ["zero", 20, 4],
  ["salt", 24, 32],
  ["check", 56, 32],
]
export const segmentHeaderSize = 88
const segmentMagic = utf8("COFFERS\0")

/** Which segment: its salt is its identity, number and generation are what the chain says of it. */
export interface SegmentId {
  readonly number: number
  readonly generation: number
  readonly salt: Uint8Array
}

export interface SegmentHeader extends SegmentId {
  readonly check: Uint8Array
}

export function encodeSegmentHeader(header: SegmentHeader): Uint8Array {
  const numbers = u32(formatVersion, header.generation, header.number, 0)
  return concatBytes(segmentMagic, numbers, header.salt, header.check)
}

/** Undefined when these bytes are no segment header of this version. Nothing in it is to be believed before the check fits. */
export function decodeSegmentHeader(bytes: Uint8Array): SegmentHeader | undefined {
  if (bytes.length < segmentHeaderSize) return undefined
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, segmentHeaderSize)
  const header = {
    generation: view.readUInt32LE(12),
    number: view.readUInt32LE(16),
    salt: Uint8Array.from(view.subarray(24, 56)),
    check: Uint8Array.from(view.subarray(56, 88)),
  }
  return equalBytes(encodeSegmentHeader(header), view) ? header : undefined
}

export function segmentName(salt: Uint8Array): string {
  return toHex(salt)
}

export const frameHeaderTable: StructTable = [
  ["size", 0, 4],
  ["kind", 4, 4],
  ["nonce", 8, 12],
  ["tag", 20, 16],
]
export const frameHeaderSize = 36
export const nonceAt = 8
export const tagAt = 20

export const dataKind = 1
export const indexKind = 2
export const commitKind = 3

export function kindCode(kind: FrameKind): number {
  return kind === "data" ? dataKind : kind === "index" ? indexKind : commitKind
}

export function kindName(code: number): FrameKind | undefined {
  return code === dataKind
    ? "data"
    : code === indexKind
      ? "index"
      : code === commitKind
        ? "commit"
        : undefined
}

/** Additional data of every frame: volume id, segment salt, offset (u64), kind (u32), size (u32). */
export const aadSize = 80

/** The additional data of a segment's frames; offset, kind and size are set for each by `setAad`. */
export function newAad(volumeId: Uint8Array, salt: Uint8Array): Buffer {
  const aad = Buffer.alloc(aadSize)
  aad.set(volumeId, 0)
  aad.set(salt, 32)
  return aad
}

export function setAad(aad: Buffer, offset: number, kind: number, size: number): void {
  aad.writeUInt32LE(offset, 64) // a segment is smaller than 4 GiB: the upper half stays zero
  aad.writeUInt32LE(kind, 72)
  aad.writeUInt32LE(size, 76)
}
