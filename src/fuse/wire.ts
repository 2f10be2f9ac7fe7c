import type { StructTable } from "../bytes/index.ts"

/**
 * The FUSE protocol's numbers and structs, as in linux/fuse.h (GPL-2.0 with the syscall note, or BSD-2-Clause).
 * Little-endian, which x86-64 and aarch64 Linux are. spec/fuse.md says which of it we use and why.
 */
export const opcodes = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  BMAP: 37,
  DESTROY: 38,
  IOCTL: 39,
  POLL: 40,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SYNCFS: 50,
  TMPFILE: 51,
  STATX: 52,
} as const

/** One more than the highest opcode that metrics count by itself. */
export const opcodeCount = 64

export const inHeader: StructTable = [
  ["len", 0, 4],
  ["opcode", 4, 4],
  ["unique", 8, 8],
  ["nodeid", 16, 8],
  ["uid", 24, 4],
  ["gid", 28, 4],
  ["pid", 32, 4],
  ["totalExtlen", 36, 2],
  ["padding", 38, 2],
]

export const outHeader: StructTable = [
  ["len", 0, 4],
  ["error", 4, 4],
  ["unique", 8, 8],
]

export const inHeaderSize = 40
export const outHeaderSize = 16

export const attr: StructTable = [
  ["ino", 0, 8],
  ["size", 8, 8],
  ["blocks", 16, 8],
  ["atime", 24, 8],
  ["mtime", 32, 8],
  ["ctime", 40, 8],
  ["atimensec", 48, 4],
  ["mtimensec", 52, 4],
  ["ctimensec", 56, 4],
  ["mode", 60, 4],
  ["nlink", 64, 4],
  ["uid", 68, 4],
  ["gid", 72, 4],
  ["rdev", 76, 4],
  ["blksize", 80, 4],
  ["flags", 84, 4],
]

export const entryOut: StructTable = [
  ["nodeid", 0, 8],
  ["generation", 8, 8],
  ["entryValid", 16, 8],
  ["attrValid", 24, 8],
  ["entryValidNsec", 32, 4],
  ["attrValidNsec", 36, 4],
  ["attr", 40, 88],
]

export const attrOut: StructTable = [
  ["attrValid", 0, 8],
  ["attrValidNsec", 8, 4],
  ["dummy", 12, 4],
  ["attr", 16, 88],
]

export const openOut: StructTable = [
  ["fh", 0, 8],
  ["openFlags", 8, 4],
  ["backingId", 12, 4],
]

export const direntHeader: StructTable = [
  ["ino", 0, 8],
  ["off", 8, 8],
  ["namelen", 16, 4],
  ["type", 20, 4],
]

export const statfsOut: StructTable = [
  ["blocks", 0, 8],
  ["bfree", 8, 8],
  ["bavail", 16, 8],
  ["files", 24, 8],
  ["ffree", 32, 8],
  ["bsize", 40, 4],
  ["namelen", 44, 4],
  ["frsize", 48, 4],
  ["padding", 52, 4],
  ["spare", 56, 24],
]

export const initIn: StructTable = [
  ["major", 0, 4],
  ["minor", 4, 4],
  ["maxReadahead", 8, 4],
  ["flags", 12, 4],
  ["flags2", 16, 4],
  ["unused", 20, 44],
]

export const initOut: StructTable = [
  ["major", 0, 4],
  ["minor", 4, 4],
  ["maxReadahead", 8, 4],
  ["flags", 12, 4],
  ["maxBackground", 16, 2],
  ["congestionThreshold", 18, 2],
  ["maxWrite", 20, 4],
  ["timeGran", 24, 4],
  ["maxPages", 28, 2],
  ["mapAlignment", 30, 2],
  ["flags2", 32, 4],
  ["maxStackDepth", 36, 4],
  ["requestTimeout", 40, 2],
  ["unused", 42, 22],
]

export const setattrIn: StructTable = [
  ["valid", 0, 4],
  ["padding", 4, 4],
  ["fh", 8, 8],
  ["size", 16, 8],
  ["lockOwner", 24, 8],
  ["atime", 32, 8],
  ["mtime", 40, 8],
  ["ctime", 48, 8],
  ["atimensec", 56, 4],
  ["mtimensec", 60, 4],
  ["ctimensec", 64, 4],
  ["mode", 68, 4],
  ["unused4", 72, 4],
  ["uid", 76, 4],
  ["gid", 80, 4],
  ["unused5", 84, 4],
]

export const mknodIn: StructTable = [
  ["mode", 0, 4],
  ["rdev", 4, 4],
  ["umask", 8, 4],
  ["padding", 12, 4],
]

export const mkdirIn: StructTable = [
  ["mode", 0, 4],
  ["umask", 4, 4],
]

export const createIn: StructTable = [
  ["flags", 0, 4],
  ["mode", 4, 4],
  ["umask", 8, 4],
  ["openFlags", 12, 4],
]

export const rename2In: StructTable = [
  ["newdir", 0, 8],
  ["flags", 8, 4],
  ["padding", 12, 4],
]

export const readIn: StructTable = [
  ["fh", 0, 8],
  ["offset", 8, 8],
  ["size", 16, 4],
  ["readFlags", 20, 4],
  ["lockOwner", 24, 8],
  ["flags", 32, 4],
  ["padding", 36, 4],
]

export const writeIn: StructTable = [
  ["fh", 0, 8],
  ["offset", 8, 8],
  ["size", 16, 4],
  ["writeFlags", 20, 4],
  ["lockOwner", 24, 8],
  ["flags", 32, 4],
  ["padding", 36, 4],
]

export const fallocateIn: StructTable = [
  ["fh", 0, 8],
  ["offset", 8, 8],
  ["length", 16, 8],
  ["mode", 24, 4],
  ["padding", 28, 4],
]

export const fsyncIn: StructTable = [
  ["fh", 0, 8],
  ["fsyncFlags", 8, 4],
  ["padding", 12, 4],
]

export const setxattrIn: StructTable = [
  ["size", 0, 4],
  ["flags", 4, 4],
  ["setxattrFlags", 8, 4],
  ["padding", 12, 4],
]

export const getxattrIn: StructTable = [
  ["size", 0, 4],
  ["padding", 4, 4],
]

export const forgetOne: StructTable = [
  ["nodeid", 0, 8],
  ["nlookup", 8, 8],
]

/** Every table with the size that the kernel's header gives it. */
export const structs: readonly (readonly [name: string, table: StructTable, size: number])[] = [
  ["in_header", inHeader, 40],
  ["out_header", outHeader, 16],
  ["attr", attr, 88],
  ["entry_out", entryOut, 128],
  ["attr_out", attrOut, 104],
  ["open_out", openOut, 16],
  ["dirent", direntHeader, 24],
  ["statfs_out", statfsOut, 80],
  ["init_in", initIn, 64],
  ["init_out", initOut, 64],
  ["setattr_in", setattrIn, 88],
  ["mknod_in", mknodIn, 16],
  ["mkdir_in", mkdirIn, 8],
  ["create_in", createIn, 16],
  ["rename2_in", rename2In, 16],
  ["read_in", readIn, 40],
  ["write_in", writeIn, 40],
  ["fallocate_in", fallocateIn, 32],
  ["fsync_in", fsyncIn, 16],
  ["setxattr_in", setxattrIn, 16],
  ["getxattr_in", getxattrIn, 8],
  ["forget_one", forgetOne, 16],
]

/** The offset of a field; a name that is not there is a mistake of ours. */
export function offsetOf(table: StructTable, field: string): number {
  const found = table.find(([name]) => name === field)
  if (found === undefined) throw new TypeError(`no field ${field}`)
  return found[1]
}

export const entrySize = 128
export const attrSize = 88
export const openOutSize = 16
export const direntHeaderSize = 24

export const setattrValid = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
  CTIME: 1 << 10,
  KILL_SUIDGID: 1 << 11,
} as const

export const writeKillSuidgid = 1 << 2
export const fsyncDataOnly = 1 << 0
export const setxattrAclKillSgid = 1 << 0

/** INIT flags, bits 0 to 31. */
export const initFlags = {
  ASYNC_READ: 1 << 0,
  ATOMIC_O_TRUNC: 1 << 3,
  BIG_WRITES: 1 << 5,
  DONT_MASK: 1 << 6,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  ASYNC_DIO: 1 << 15,
  WRITEBACK_CACHE: 1 << 16,
  NO_OPEN_SUPPORT: 1 << 17,
  PARALLEL_DIROPS: 1 << 18,
  POSIX_ACL: 1 << 20,
  MAX_PAGES: 1 << 22,
  CACHE_SYMLINKS: 1 << 23,
  NO_OPENDIR_SUPPORT: 1 << 24,
  EXPLICIT_INVAL_DATA: 1 << 25,
  HANDLE_KILLPRIV_V2: 1 << 28,
  SETXATTR_EXT: 1 << 29,
} as const

/** Negative errno values, as replies carry them. */
export const errno = {
  ENOENT: -2,
  EINTR: -4,
  EIO: -5,
  EINVAL: -22,
  ENOTTY: -25,
  EFBIG: -27,
  EROFS: -30,
  ERANGE: -34,
  ENAMETOOLONG: -36,
  ENOSYS: -38,
  ENODATA: -61,
  EOPNOTSUPP: -95,
} as const
