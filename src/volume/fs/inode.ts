// Hot path: see page.ts.
import type { Attributes, Time } from "../../fuse/index.ts"
import { directoryType, fileTypeMask, regularType } from "./keys.ts"

export const inodeFlags = {
  /** It has, or had, xattrs; without the flag nobody looks. */
  xattrs: 1,
  /** `security.capability` is among them: a write removes it. */
  capability: 2,
  /** A default ACL: what is made in the directory inherits it. */
  defaultAcl: 4,
  /** An access ACL: chmod changes it too. */
  accessAcl: 8,
} as const

const two32 = 4294967296
export const directoryEntryBytes = 32

/** Attributes of one file, decoded. */
export class Inode {
  readonly id: number
  mode = 0
  uid = 0
  gid = 0
  linkCount = 0
  /** Bytes of a file or symlink; entries of a directory. */
  size = 0
  /** Bytes of a file that stand in frames; the next sequence number of a directory. */
  allocated = 0
  /** The parent of a directory; the number of a device. */
  extra = 0
  atimeSeconds = 0
  mtimeSeconds = 0
  ctimeSeconds = 0
  atimeNanoseconds = 0
  mtimeNanoseconds = 0
  ctimeNanoseconds = 0
  flags = 0
  /** Differs from the index. */
  dirty = false
  /** Removed from the index. */
  gone = false
  touched = false

  constructor(id: number) {
    this.id = id
  }

  get isDirectory(): boolean {
    return (this.mode & fileTypeMask) === directoryType
  }

  get isRegular(): boolean {
    return (this.mode & fileTypeMask) === regularType
  }

  /** Into 80 bytes. */
  encode(words: Uint32Array): void {
    words[0] = this.mode
    words[1] = this.uid
    words[2] = this.gid
    words[3] = this.linkCount
    put(words, 4, this.size)
    put(words, 6, this.allocated)
    put(words, 8, this.extra)
    put(words, 10, this.atimeSeconds)
    put(words, 12, this.mtimeSeconds)
    put(words, 14, this.ctimeSeconds)
    words[16] = this.atimeNanoseconds
    words[17] = this.mtimeNanoseconds
    words[18] = this.ctimeNanoseconds
    words[19] = this.flags
  }

  decode(words: Uint32Array, at: number): void {
    this.mode = words[at] as number
    this.uid = words[at + 1] as number
    this.gid = words[at + 2] as number
    this.linkCount = words[at + 3] as number
    this.size = take(words, at + 4)
    this.allocated = take(words, at + 6)
    this.extra = take(words, at + 8)
    this.atimeSeconds = take(words, at + 10)
    this.mtimeSeconds = take(words, at + 12)
    this.ctimeSeconds = take(words, at + 14)
    this.atimeNanoseconds = words[at + 16] as number
    this.mtimeNanoseconds = words[at + 17] as number
    this.ctimeNanoseconds = words[at + 18] as number
    this.flags = words[at + 19] as number
  }

  fill(out: Attributes): void {
    out.inode = this.id
    out.mode = this.mode
    out.linkCount = this.linkCount
    out.uid = this.uid
    out.gid = this.gid
    out.blockSize = 4096
    const directory = this.isDirectory
    out.size = directory ? this.size * directoryEntryBytes : this.size
    out.blocks = this.isRegular ? Math.ceil(this.allocated / 512) : 0
    out.rdev = directory ? 0 : this.extra
    out.atimeSeconds = this.atimeSeconds
    out.atimeNanoseconds = this.atimeNanoseconds
    out.mtimeSeconds = this.mtimeSeconds
    out.mtimeNanoseconds = this.mtimeNanoseconds
    out.ctimeSeconds = this.ctimeSeconds
    out.ctimeNanoseconds = this.ctimeNanoseconds
  }

  setAtime({ seconds, nanoseconds }: Time): void {
    this.atimeSeconds = seconds
    this.atimeNanoseconds = nanoseconds
  }

  setMtime({ seconds, nanoseconds }: Time): void {
    this.mtimeSeconds = seconds
    this.mtimeNanoseconds = nanoseconds
  }

  setCtime({ seconds, nanoseconds }: Time): void {
    this.ctimeSeconds = seconds
    this.ctimeNanoseconds = nanoseconds
  }
}

// Two's complement, so that times before 1970 have a form.
function put(words: Uint32Array, at: number, value: number): void {
  words[at] = value >>> 0
  words[at + 1] = Math.floor(value / two32) >>> 0
}

function take(words: Uint32Array, at: number): number {
  return ((words[at + 1] as number) | 0) * two32 + (words[at] as number)
}
