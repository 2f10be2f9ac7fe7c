// Hot path: every name of an image goes through here.
import { type ByteString, displayName } from "../bytes/index.ts"
import { blockSize, damaged, entryTypes, type NodeKind } from "./format.ts"

export interface Entry {
  readonly name: ByteString
  readonly nid: number
  readonly kind: NodeKind
}

const entrySize = 12
const maxNameSize = 255

/** Bytes of a directory with these names, which are in the order of their bytes and include `.` and `..`. */
export function directorySize(names: readonly ByteString[]): number {
  let blocks = 0
  let used = 0
  for (const name of names) {
    const need = entrySize + name.length
    if (used + need > blockSize) {
      blocks += 1
      used = 0
    }
    used += need
  }
  return blocks * blockSize + used
}

/** The directory's bytes, `directorySize` of them. Each block has its own entries, then their names. */
export function encodeDirectory(entries: readonly Entry[], size: number): Buffer {
  const out = Buffer.alloc(size)
  let block = 0
  for (let first = 0; first < entries.length; ) {
    const end = endOfBlock(entries, first)
    encodeBlock(out, block * blockSize, entries, first, end)
    first = end
    block += 1
  }
  return out
}

function endOfBlock(entries: readonly Entry[], first: number): number {
  let used = 0
  let i = first
  for (; i < entries.length; i += 1) {
    used += entrySize + (entries[i]?.name.length ?? 0)
    if (used > blockSize) break
  }
  return i
}

function encodeBlock(
  out: Buffer,
  start: number,
  entries: readonly Entry[],
  first: number,
  end: number,
): void {
  let nameOffset = (end - first) * entrySize
  let at = start
  for (let i = first; i < end; i += 1) {
    const entry = entries[i]
    if (entry === undefined) throw new TypeError("entries have no gaps")
    // A number stays below 2^39: 2^32 blocks of 128 slots.
    out.writeUInt32LE(entry.nid % 2 ** 32, at)
    out.writeUInt32LE(Math.floor(entry.nid / 2 ** 32), at + 4)
    out.writeUInt16LE(nameOffset, at + 8)
    out.writeUInt8(entryTypes[entry.kind], at + 10)
    out.write(entry.name, start + nameOffset, "latin1")
    nameOffset += entry.name.length
    at += entrySize
  }
}

const kinds = new Map<number, NodeKind>(
  Object.entries(entryTypes).map(([kind, code]) => [code, kind as NodeKind]),
)

/**
 * The entries of one block of a directory (the last one may be short). Refuses what `encodeDirectory` would not have
 * written, so far as one block shows it.
 */
export function decodeBlock(bytes: Buffer, isLast: boolean, nid: number): Entry[] {
  const fault = (what: string, wanted: string, found: string): Error =>
    damaged(`directory ${nid}: ${what}`, wanted, found, { nid })
  if (bytes.length < entrySize) throw fault("size", "at least one entry", `${bytes.length} bytes`)
  const namesAt = bytes.readUInt16LE(8)
  if (namesAt === 0 || namesAt % entrySize !== 0 || namesAt > bytes.length)
    throw fault("first name", "right behind the entries", `at ${namesAt}`)
  const entries: Entry[] = []
  let nameAt = namesAt
  for (let at = 0; at < namesAt; at += entrySize) {
    const next = at + entrySize
    const end = next < namesAt ? bytes.readUInt16LE(next + 8) : endOfNames(bytes, nameAt, isLast)
    if (end <= nameAt || end > bytes.length || end - nameAt > maxNameSize)
      throw fault("name size", `1 to ${maxNameSize} bytes`, String(end - nameAt))
    const name = bytes.toString("latin1", nameAt, end) as ByteString
    if (name.includes("\0") || name.includes("/"))
      throw fault("name", "no NUL and no slash", `'${displayName(name)}'`)
    const kind = kinds.get(bytes.readUInt8(at + 10))
    if (kind === undefined || bytes.readUInt8(at + 11) !== 0)
      throw fault(`'${displayName(name)}'`, "a file type", String(bytes.readUInt16LE(at + 10)))
    const child = bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32
    entries.push({ name, nid: child, kind })
    nameAt = end
  }
  return entries
}

// In the last block the directory's size ends the last name; in others a NUL or the block's end, and zeros follow.
function endOfNames(bytes: Buffer, nameAt: number, isLast: boolean): number {
  if (isLast) return bytes.length
  let end = bytes.length
  while (end > nameAt && bytes[end - 1] === 0) end -= 1
  return end
}
