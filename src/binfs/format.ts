import { Cursor, type StructTable } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { crc32c } from "./crc32c.ts"

// The profile of EROFS that spec/binfs.md fixes: the structs, their constants, nothing else.

export const blockSize = 4096
/** Inodes begin at multiples of this; a node's number (nid) is its offset divided by it. */
export const slotSize = 32
export const slotsPerBlock = blockSize / slotSize
export const superblockOffset = 1024
export const inodeSize = 64
/** Right behind the superblock: the root's number must fit 16 bits. */
export const rootOffset = 1152
export const rootNid = rootOffset / slotSize
/** In chunk maps in memory: a hole. On the disk it is the address of the zero area. */
export const noBlock = 0xffffffff
export const maxBlockCount = 0xfffffffe

export const superblockTable = [
  ["magic", 0, 4],
  ["checksum", 4, 4],
  ["feature_compat", 8, 4],
  ["blkszbits", 12, 1],
  ["sb_extslots", 13, 1],
  ["root_nid", 14, 2],
  ["inos", 16, 8],
  ["build_time", 24, 8],
  ["build_time_nsec", 32, 4],
  ["blocks", 36, 4],
  ["meta_blkaddr", 40, 4],
  ["xattr_blkaddr", 44, 4],
  ["uuid", 48, 16],
  ["volume_name", 64, 16],
  ["feature_incompat", 80, 4],
  ["reserved", 84, 44],
] as const satisfies StructTable

export const inodeTable = [
  ["i_format", 0, 2],
  ["i_xattr_icount", 2, 2],
  ["i_mode", 4, 2],
  ["i_reserved", 6, 2],
  ["i_size", 8, 8],
  ["i_u", 16, 4],
  ["i_ino", 20, 4],
  ["i_uid", 24, 4],
  ["i_gid", 28, 4],
  ["i_mtime", 32, 8],
  ["i_mtime_nsec", 40, 4],
  ["i_nlink", 44, 4],
  ["i_reserved2", 48, 16],
] as const satisfies StructTable

const magic = 0xe0f5e1e2
// SB_CHKSUM and MTIME.
const featureCompat = 0x3
const featureChunked = 0x4

export interface Superblock {
  readonly inodeCount: number
  readonly blockCount: number
  /** Whether any file has holes, and so is chunk-based. */
  readonly chunked: boolean
}

/** Writes the superblock into the image's first block (and no more than that), which has all its other bytes already. */
export function encodeSuperblock(
  block: Uint8Array,
  { inodeCount, blockCount, chunked }: Superblock,
): void {
  const view = new DataView(block.buffer, block.byteOffset + superblockOffset, 128)
  view.setUint32(0, magic, true)
  view.setUint32(8, featureCompat, true)
  view.setUint8(12, 12)
  view.setUint16(14, rootNid, true)
  view.setBigUint64(16, BigInt(inodeCount), true)
  view.setUint32(36, blockCount, true)
  view.setUint32(80, chunked ? featureChunked : 0, true)
  view.setUint32(4, crc32c(block.subarray(superblockOffset, blockSize)), true)
}

/** Reads and checks the superblock of an image's first block. */
export function decodeSuperblock(block: Uint8Array): Superblock {
  const cursor = new Cursor(block.subarray(superblockOffset), "binfs superblock")
  const want = (field: string, wanted: number, found: number): void => {
    if (found !== wanted) throw cursor.fault(field, hex(wanted), hex(found))
  }
  want("magic", magic, cursor.u32("magic"))
  const checksum = cursor.u32("checksum")
  want("checksum", checksumOf(block), checksum)
  want("feature_compat", featureCompat, cursor.u32("feature_compat"))
  want("blkszbits", 12, cursor.u8("blkszbits"))
  want("sb_extslots", 0, cursor.u8("sb_extslots"))
  want("root_nid", rootNid, cursor.u16("root_nid"))
  const inodeCount = cursor.size("inos")
  cursor.zeros(12, "build_time")
  const blockCount = cursor.u32("blocks")
  cursor.zeros(40, "meta_blkaddr to volume_name")
  const incompat = cursor.u32("feature_incompat")
  if (incompat !== featureChunked) want("feature_incompat", 0, incompat)
  cursor.zeros(44, "reserved")
  return { inodeCount, blockCount, chunked: incompat === featureChunked }
}

// Over the superblock and the rest of the block, with a zero in the checksum's own place.
function checksumOf(block: Uint8Array): number {
  const copy = Uint8Array.from(block.subarray(superblockOffset))
  copy.fill(0, 4, 8)
  return crc32c(copy)
}

function hex(value: number): string {
  return `0x${value.toString(16)}`
}

/** Where a node's data are. `plain`: whole blocks. `inline`: whole blocks, the rest behind the inode. `chunks`: by a map behind the inode. */
export type Layout = "plain" | "inline" | "chunks"

const layoutCodes = { plain: 0, inline: 2, chunks: 4 } as const satisfies Record<Layout, number>

export type NodeKind = "file" | "directory" | "character" | "block" | "fifo" | "socket" | "symlink"

export const typeBits = {
  file: 0o100000,
  directory: 0o040000,
  character: 0o020000,
  block: 0o060000,
  fifo: 0o010000,
  socket: 0o140000,
  symlink: 0o120000,
} as const satisfies Record<NodeKind, number>

/** The type in a directory entry. */
export const entryTypes = {
  file: 1,
  directory: 2,
  character: 3,
  block: 4,
  fifo: 5,
  socket: 6,
  symlink: 7,
} as const satisfies Record<NodeKind, number>

const kindOfType = new Map<number, NodeKind>(
  Object.entries(typeBits).map(([kind, bits]) => [bits, kind as NodeKind]),
)

export interface Inode {
  readonly kind: NodeKind
  readonly layout: Layout
  /** Bytes of the xattrs behind the inode: 0, or 16 and more. */
  readonly xattrSize: number
  /** Permission bits: 0 to 0o7777. */
  readonly mode: number
  readonly size: number
  /** Block address, chunk format or device number. */
  readonly u: number
  readonly ino: number
  readonly uid: number
  readonly gid: number
  readonly seconds: number
  readonly nanoseconds: number
  readonly linkCount: number
}

const xattrHeaderSize = 12

export function encodeInode(target: Uint8Array, inode: Inode): void {
  const view = new DataView(target.buffer, target.byteOffset, inodeSize)
  view.setUint16(0, 1 | (layoutCodes[inode.layout] << 1), true)
  view.setUint16(2, inode.xattrSize === 0 ? 0 : (inode.xattrSize - xattrHeaderSize) / 4 + 1, true)
  view.setUint16(4, typeBits[inode.kind] | inode.mode, true)
  view.setUint16(6, 0, true)
  view.setBigUint64(8, BigInt(inode.size), true)
  view.setUint32(16, inode.u, true)
  view.setUint32(20, inode.ino, true)
  view.setUint32(24, inode.uid, true)
  view.setUint32(28, inode.gid, true)
  view.setBigInt64(32, BigInt(inode.seconds), true)
  view.setUint32(40, inode.nanoseconds, true)
  view.setUint32(44, inode.linkCount, true)
  target.fill(0, 48, inodeSize)
}

export function decodeInode(bytes: Uint8Array, nid: number): Inode {
  const cursor = new Cursor(bytes, `binfs inode ${nid}`)
  const layout = layoutOf(cursor.u16("i_format"), cursor)
  const icount = cursor.u16("i_xattr_icount")
  const mode = cursor.u16("i_mode")
  const kind = kindOfType.get(mode & 0o170000)
  if (kind === undefined) throw cursor.fault("i_mode", "a file type", mode.toString(8))
  cursor.zeros(2, "i_reserved")
  const size = cursor.size("i_size")
  const u = cursor.u32("i_u")
  const [ino, uid, gid] = [cursor.u32("i_ino"), cursor.u32("i_uid"), cursor.u32("i_gid")]
  const seconds = Number(BigInt.asIntN(64, cursor.u64("i_mtime")))
  if (!Number.isSafeInteger(seconds)) throw cursor.fault("i_mtime", "below 2^53", String(seconds))
  const nanoseconds = cursor.u32("i_mtime_nsec")
  if (nanoseconds > 999_999_999)
    throw cursor.fault("i_mtime_nsec", "below 1,000,000,000", String(nanoseconds))
  const linkCount = cursor.u32("i_nlink")
  if (linkCount === 0) throw cursor.fault("i_nlink", "1 or more", "0")
  cursor.zeros(16, "i_reserved2")
  const xattrSize = icount === 0 ? 0 : xattrHeaderSize + (icount - 1) * 4
  const links = { ino, uid, gid, seconds, nanoseconds, linkCount }
  return { kind, layout, xattrSize, mode: mode & 0o7777, size, u, ...links }
}

function layoutOf(format: number, cursor: Cursor): Layout {
  for (const layout of ["plain", "inline", "chunks"] as const)
    if (format === (1 | (layoutCodes[layout] << 1))) return layout
  throw cursor.fault("i_format", "an extended inode: 0x1, 0x5 or 0x9", hex(format))
}

/** The device number as Linux has it in 32 bits; undefined when it does not fit. */
export function encodeDevice(major: number, minor: number): number | undefined {
  if (major > 0xfff || minor > 0xfffff) return undefined
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0
}

export function decodeDevice(device: number): { readonly major: number; readonly minor: number } {
  return { major: (device >>> 8) & 0xfff, minor: (device & 0xff) | ((device >>> 12) & 0xfff00) }
}

export const minChunkSize = 64 * 1024
const maxChunkCount = 65_536

/** The chunk size of a file with holes: the smallest that needs no more than 65,536 chunks. */
export function chunkSizeFor(size: number): number {
  let chunkSize = minChunkSize
  while (size / chunkSize > maxChunkCount) chunkSize *= 2
  return chunkSize
}

/**
 * Bytes of the zero area, where the chunks of holes point, for the largest file of an image. EROFS knows a null address
 * for that, but `fsck.erofs` 1.5 leaves such chunks out when it extracts, and what follows slides down.
 */
export function zeroAreaSize(largestFile: number): number {
  return largestFile < minChunkSize ? 0 : chunkSizeFor(largestFile)
}

/** The zero area stands behind the front: superblock and root inode with its xattrs. In blocks. */
export function zeroAreaBlock(rootXattrSize: number): number {
  return Math.ceil((rootOffset + inodeSize + rootXattrSize) / blockSize)
}

/** What stands in `i_u` of a chunk-based inode: log2 of the chunk's blocks. */
export function chunkFormat(chunkSize: number): number {
  return Math.log2(chunkSize / blockSize)
}

/** An error about an image that is not what it must be. */
export function damaged(
  what: string,
  wanted: string,
  found: string,
  facts: Readonly<Record<string, string | number>> = {},
): CofferError {
  return new CofferError("integrity", `binfs: ${what}: wanted ${wanted}, found ${found}`, {
    reason: "binfs-damaged",
    facts,
  })
}
