/** The stored form of a page of the index: header, entries, values. spec/volume-index.md, Pages. */
export const magic = 0x32585043 // "CPX2"
export const headerSize = 24
/** An entry with hi − base and lo in 32 bits each, and one with both in 64. */
export const narrowSize = 12
export const wideSize = 20

const two32 = 4294967296
/** No page of the index has more levels: 2^64 entries need fewer. */
const maxLevel = 12

/** The level that a stored page says to have; undefined for what is none. */
export function storedLevel(stored: Buffer): number | undefined {
  const level = stored.readUInt16LE(4)
  return stored.readUInt32LE(0) === magic && level <= maxLevel ? level : undefined
}

/** Level and first key of a stored page; undefined for what is none, and for the empty root. */
export function storedKey(
  stored: Buffer,
): { readonly level: number; readonly hi: number; readonly lo: number } | undefined {
  if (stored.readUInt32LE(0) !== magic || stored.readUInt32LE(8) === 0) return undefined
  const level = stored.readUInt16LE(4)
  const u64 = (at: number) => stored.readUInt32LE(at) + stored.readUInt32LE(at + 4) * two32
  if (stored.readUInt16LE(6) === wideSize)
    return { level, hi: u64(headerSize), lo: u64(headerSize + 8) }
  const hi = u64(16) + stored.readUInt32LE(headerSize)
  return { level, hi, lo: stored.readUInt32LE(headerSize + 4) }
}
