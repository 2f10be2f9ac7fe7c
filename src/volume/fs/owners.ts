// Hot path: see page.ts.

/**
 * What stands behind the data of a frame: whose bytes they were when it was written. Compaction finds live data by it;
 * the index alone says what is true. spec/volume-index.md
 */
export const ownerSize = 24
export const trailerSize = 8
export const maxOwners = 64
const magic = 0x31465043 // "CPF1"
const two32 = 4294967296

export interface Owner {
  inode: number
  /** In the file. */
  offset: number
  /** In the frame's data. */
  inner: number
  length: number
}

/** Writes the owner number `index` of a frame with `dataSize` bytes of data at `start` of `target`. */
export function putOwner(
  target: Buffer,
  at: number,
  inode: number,
  offset: number,
  inner: number,
  length: number,
): void {
  target.writeUInt32LE(inode >>> 0, at)
  target.writeUInt32LE((inode / two32) >>> 0, at + 4)
  target.writeUInt32LE(offset >>> 0, at + 8)
  target.writeUInt32LE((offset / two32) >>> 0, at + 12)
  target.writeUInt32LE(inner, at + 16)
  target.writeUInt32LE(length, at + 20)
}

export function putTrailer(target: Buffer, at: number, count: number): void {
  target.writeUInt32LE(count, at)
  target.writeUInt32LE(magic, at + 4)
}

/** The owners of a frame's payload, or undefined when it has no trailer of ours. */
export function ownersOf(payload: Buffer, size: number): Owner[] | undefined {
  if (size < trailerSize || payload.readUInt32LE(size - 4) !== magic) return undefined
  const count = payload.readUInt32LE(size - 8)
  const start = size - trailerSize - count * ownerSize
  if (count > maxOwners || start < 0) return undefined
  return Array.from({ length: count }, (_, i) => {
    const at = start + i * ownerSize
    return {
      inode: payload.readUInt32LE(at) + payload.readUInt32LE(at + 4) * two32,
      offset: payload.readUInt32LE(at + 8) + payload.readUInt32LE(at + 12) * two32,
      inner: payload.readUInt32LE(at + 16),
      length: payload.readUInt32LE(at + 20),
    }
  })
}
