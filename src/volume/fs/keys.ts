import type { StructTable } from "../../bytes/index.ts"

/**
 * Keys and values of the index. A key is (hi, lo): `hi` is inode × 16 + type, so all about one file stands together.
 * spec/volume-index.md is the contract; these tables are its bytes.
 */
export const itemType = {
  /** lo 0: the inode's attributes. */
  inode: 0,
  /** lo = file offset: where the bytes from there stand. */
  extent: 1,
  /** lo = sequence number in the directory: the entry. */
  entry: 2,
  /** lo = hash of the name: sequence numbers of the entries with that hash. */
  name: 3,
  /** lo = slot × 64 + chunk. */
  xattr: 4,
  /** lo 0: the target of a symlink. */
  target: 5,
  /** Of inode 0; lo = an inode without links that may still be open. */
  orphan: 6,
} as const

export function keyOf(inode: number, type: number): number {
  return inode * 16 + type
}

/** An inode has at most so many bytes. */
export const maxInodeSize = 80

export const extentTable: StructTable = [
  ["segment", 0, 4],
  ["frameOffset", 4, 4],
  ["payloadSize", 8, 4],
  ["dataSize", 12, 4],
  ["stride", 16, 4],
  ["inner", 20, 4],
  ["length", 24, 4],
]
export const extentSize = 28

/** Of a row of one frame, where all fields are below 65536. */
export const shortExtentTable: StructTable = [
  ["segment", 0, 4],
  ["frameOffset", 4, 4],
  ["payloadSize", 8, 2],
  ["dataSize", 10, 2],
  ["inner", 12, 2],
  ["length", 14, 2],
]
export const shortExtentSize = 16

export const fileTypeMask = 0o170000
export const directoryType = 0o040000
export const regularType = 0o100000
export const symlinkType = 0o120000
export const characterType = 0o020000

export const rootInode = 1
export const maxLinks = 65000
export const maxNameSize = 255
export const maxFileSize = 2 ** 52
