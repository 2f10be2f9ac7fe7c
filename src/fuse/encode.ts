// Hot path: replies are written through one Uint32Array over the reply buffer; no allocation, no BigInt.
import type { Attributes, FileSystemStatus } from "./filesystem.ts"
import { attrSize, direntHeaderSize, entrySize, outHeaderSize } from "./wire.ts"

const high = 4294967296

/** The reply being made: header at 0, payload from `payloadAt`. `words` views the same memory. */
export interface ReplyBuffer {
  readonly bytes: Buffer
  readonly words: Uint32Array
}

export const payloadAt = outHeaderSize

export function replyBuffer(memory: ArrayBuffer): ReplyBuffer {
  return { bytes: Buffer.from(memory), words: new Uint32Array(memory) }
}

/** `value` is a safe integer; negative ones as two's complement. `at` is a multiple of 4, in bytes. */
export function writeU64(words: Uint32Array, at: number, value: number): void {
  words[at >> 2] = value
  words[(at >> 2) + 1] = Math.floor(value / high)
}

export function readU64(words: Uint32Array, at: number): number {
  return (words[at >> 2] ?? 0) + (words[(at >> 2) + 1] ?? 0) * high
}

/** Two's complement: times before 1970 are negative. */
export function readI64(words: Uint32Array, at: number): number {
  return (words[at >> 2] ?? 0) + ((words[(at >> 2) + 1] ?? 0) | 0) * high
}

/** fuse_attr. */
export function writeAttributes(words: Uint32Array, at: number, from: Attributes): void {
  const w = at >> 2
  writeU64(words, at, from.inode)
  writeU64(words, at + 8, from.size)
  writeU64(words, at + 16, from.blocks)
  writeU64(words, at + 24, from.atimeSeconds)
  writeU64(words, at + 32, from.mtimeSeconds)
  writeU64(words, at + 40, from.ctimeSeconds)
  words[w + 12] = from.atimeNanoseconds
  words[w + 13] = from.mtimeNanoseconds
  words[w + 14] = from.ctimeNanoseconds
  words[w + 15] = from.mode
  words[w + 16] = from.linkCount
  words[w + 17] = from.uid
  words[w + 18] = from.gid
  words[w + 19] = from.rdev
  words[w + 20] = from.blockSize
  words[w + 21] = 0
}

/** fuse_attr_out; returns its size. */
export function writeAttrOut(reply: ReplyBuffer, from: Attributes, seconds: number): number {
  writeU64(reply.words, payloadAt, seconds)
  writeU64(reply.words, payloadAt + 8, 0)
  writeAttributes(reply.words, payloadAt + 16, from)
  return 16 + attrSize
}

/** fuse_entry_out; returns its size. Generation 0: inode numbers are not used again. */
export function writeEntry(
  words: Uint32Array,
  at: number,
  from: Attributes,
  seconds: number,
): number {
  writeU64(words, at, from.inode)
  writeU64(words, at + 8, 0)
  writeU64(words, at + 16, seconds)
  writeU64(words, at + 24, seconds)
  writeU64(words, at + 32, 0)
  writeAttributes(words, at + 40, from)
  return entrySize
}

/** A name that is not there, which the kernel may remember; returns its size. */
export function writeNegativeEntry(reply: ReplyBuffer, seconds: number): number {
  reply.bytes.fill(0, payloadAt, payloadAt + entrySize)
  writeU64(reply.words, payloadAt + 16, seconds)
  return entrySize
}

/** fuse_dirent with name and padding at `at`; returns its size, or 0 when it would pass `limit`. */
export function writeDirent(
  reply: ReplyBuffer,
  at: number,
  limit: number,
  name: string,
  inode: number,
  type: number,
  nextCookie: number,
): number {
  const end = direntHeaderSize + name.length
  const size = (end + 7) & ~7
  if (at + size > limit) return 0
  const { bytes, words } = reply
  writeU64(words, at, inode)
  writeU64(words, at + 8, nextCookie)
  words[(at >> 2) + 4] = name.length
  words[(at >> 2) + 5] = type
  const nameAt = at + direntHeaderSize
  for (let i = 0; i < name.length; i += 1) bytes[nameAt + i] = name.charCodeAt(i)
  for (let i = at + end; i < at + size; i += 1) bytes[i] = 0
  return size
}

/** fuse_statfs_out; returns its size. */
export function writeStatfs(reply: ReplyBuffer, from: FileSystemStatus): number {
  const { bytes, words } = reply
  bytes.fill(0, payloadAt, payloadAt + 80)
  writeU64(words, payloadAt, from.blocks)
  writeU64(words, payloadAt + 8, from.blocksFree)
  writeU64(words, payloadAt + 16, from.blocksAvailable)
  writeU64(words, payloadAt + 24, from.files)
  writeU64(words, payloadAt + 32, from.filesFree)
  const w = payloadAt >> 2
  words[w + 10] = from.blockSize
  words[w + 11] = from.nameMax
  words[w + 12] = from.blockSize
  return 80
}
