import { Cursor } from "../../bytes/index.ts"
import { CofferError } from "../../errors.ts"
import type { Place } from "../frame-store.ts"

/** What a checkpoint says of the filesystem: the root of the index and what stands beside it. spec/volume-index.md */
export interface State {
  readonly root: Readonly<Place>
  /** Of the hash of names. */
  readonly seedA: number
  readonly seedB: number
  readonly nextInode: number
  readonly inodeCount: number
  /** Frames that hold the live bytes of each segment. */
  readonly tables: readonly Readonly<Place>[]
}

const magic = 0x32535643 // "CVS2"
const firstMagic = 0x31535643 // "CVS1"
const headerSize = 48
const placeSize = 12
const two32 = 4294967296

export function encodeState(state: State): Uint8Array {
  const out = Buffer.alloc(headerSize + placeSize * state.tables.length)
  out.writeUInt32LE(magic, 0)
  putPlace(out, 4, state.root)
  out.writeUInt32LE(state.seedA, 16)
  out.writeUInt32LE(state.seedB, 20)
  putNumber(out, 24, state.nextInode)
  putNumber(out, 32, state.inodeCount)
  out.writeUInt32LE(state.tables.length, 40)
  for (const [i, table] of state.tables.entries()) putPlace(out, headerSize + placeSize * i, table)
  return out
}

function putPlace(out: Buffer, at: number, { segment, offset, size }: Readonly<Place>): void {
  out.writeUInt32LE(segment, at)
  out.writeUInt32LE(offset, at + 4)
  out.writeUInt32LE(size, at + 8)
}

function putNumber(out: Buffer, at: number, value: number): void {
  out.writeUInt32LE(value >>> 0, at)
  out.writeUInt32LE(Math.floor(value / two32), at + 4)
}

export function decodeState(bytes: Uint8Array): State {
  const cursor = new Cursor(bytes, "volume state")
  const found = cursor.u32("magic")
  if (found !== magic)
    throw new CofferError(
      "integrity",
      `volume state: wanted version 2, found ${found === firstMagic ? "version 1" : "another"}`,
      {
        hint:
          found === firstMagic
            ? "an unreleased coffer wrote the volume: export it with that one, and import it into a new volume"
            : "the volume may be of a newer coffer: use that one",
        facts: { magic: found },
      },
    )
  const root = takePlace(cursor, "root")
  const seedA = cursor.u32("seedA")
  const seedB = cursor.u32("seedB")
  const nextInode = cursor.size("nextInode")
  const inodeCount = cursor.size("inodeCount")
  const count = cursor.u32("tables")
  cursor.zeros(4, "reserved")
  const tables = Array.from({ length: count }, () => takePlace(cursor, "table"))
  cursor.end()
  return { root, seedA, seedB, nextInode, inodeCount, tables }
}

function takePlace(cursor: Cursor, field: string): Place {
  return { segment: cursor.u32(field), offset: cursor.u32(field), size: cursor.u32(field) }
}
