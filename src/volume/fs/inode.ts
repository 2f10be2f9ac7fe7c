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

// The form of an inode says how its fields stand: spec/volume-index.md, Attributes.
const ownerShift = 0
const linksBit = 1 << 2
const sizeShift = 3
const allocatedShift = 5
const extraShift = 7
const mtimeBit = 1 << 9
const ctimeShift = 10
const atimeShift = 12
const flagsBit = 1 << 14

const two32 = 4294967296
export const directoryEntryBytes = 32

/** Attributes of one file, decoded. */
export class Inode {
  id: number
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

  /** Into words; returns the size in bytes. Each field has its smallest form, so there is one way to write an inode. */
  encode(words: Uint32Array): number {
    let at = 1
    let form = 0
    if (this.uid < 65536 && this.gid < 65536) {
      if (this.uid !== 0 || this.gid !== 0) {
        form |= 1 << ownerShift
        words[at] = this.uid | (this.gid << 16)
        at += 1
      }
    } else {
      form |= 2 << ownerShift
      words[at] = this.uid
      words[at + 1] = this.gid
      at += 2
    }
    if (this.linkCount !== 1) {
      form |= linksBit
      words[at] = this.linkCount
      at += 1
    }
    form |= putNumber(words, at, this.size) << sizeShift
    at += numberWords(form >>> sizeShift)
    if (this.allocated !== this.size) {
      form |= (1 + putWide(words, at, this.allocated)) << allocatedShift
      at += numberWords(form >>> allocatedShift)
    }
    form |= putNumber(words, at, this.extra) << extraShift
    at += numberWords(form >>> extraShift)
    form |= this.#putMtime(words, at)
    at += (form & mtimeBit) === 0 ? 2 : 3
    const ctime = this.#putTime(words, at, this.ctimeSeconds, this.ctimeNanoseconds)
    form |= ctime << ctimeShift
    at += ctime
    const atime = this.#putTime(words, at, this.atimeSeconds, this.atimeNanoseconds)
    form |= atime << atimeShift
    at += atime
    if (this.flags !== 0) {
      form |= flagsBit
      words[at] = this.flags
      at += 1
    }
    words[0] = this.mode | (form << 16)
    return at * 4
  }

  #putMtime(words: Uint32Array, at: number): number {
    const seconds = this.mtimeSeconds
    words[at] = seconds >>> 0
    if (isWord(seconds)) {
      words[at + 1] = this.mtimeNanoseconds
      return 0
    }
    words[at + 1] = Math.floor(seconds / two32) >>> 0
    words[at + 2] = this.mtimeNanoseconds
    return mtimeBit
  }

  /** Against the time of the last modification. Returns the form, which is the count of words. */
  #putTime(words: Uint32Array, at: number, seconds: number, nanoseconds: number): number {
    const past = seconds - this.mtimeSeconds
    if (past >= -3 && past <= 3) {
      const difference = past * 1e9 + nanoseconds - this.mtimeNanoseconds
      if (difference === 0) return 0
      if (difference === (difference | 0)) {
        words[at] = difference >>> 0
        return 1
      }
    }
    words[at] = seconds >>> 0
    if (isWord(seconds)) {
      words[at + 1] = nanoseconds
      return 2
    }
    words[at + 1] = Math.floor(seconds / two32) >>> 0
    words[at + 2] = nanoseconds
    return 3
  }

  decode(words: Uint32Array, start: number): void {
    const first = words[start] as number
    const form = first >>> 16
    let at = start + 1
    this.mode = first & 0xffff
    const owner = (form >>> ownerShift) & 3
    this.uid = 0
    this.gid = 0
    if (owner === 1) {
      const both = words[at] as number
      this.uid = both & 0xffff
      this.gid = both >>> 16
      at += 1
    } else if (owner === 2) {
      this.uid = words[at] as number
      this.gid = words[at + 1] as number
      at += 2
    }
    this.linkCount = 1
    if ((form & linksBit) !== 0) {
      this.linkCount = words[at] as number
      at += 1
    }
    this.size = takeNumber(words, at, form >>> sizeShift)
    at += numberWords(form >>> sizeShift)
    const allocated = (form >>> allocatedShift) & 3
    this.allocated = allocated === 0 ? this.size : takeNumber(words, at, allocated)
    at += allocated
    this.extra = takeNumber(words, at, form >>> extraShift)
    at += numberWords(form >>> extraShift)
    this.#decodeTimes(words, at, form)
  }

  #decodeTimes(words: Uint32Array, start: number, form: number): void {
    let at = start + 2
    this.mtimeSeconds = words[start] as number
    if ((form & mtimeBit) !== 0) {
      this.mtimeSeconds = takeSigned(words, start)
      at += 1
    }
    this.mtimeNanoseconds = words[at - 1] as number
    const ctime = (form >>> ctimeShift) & 3
    this.ctimeSeconds = this.#secondsAt(words, at, ctime)
    this.ctimeNanoseconds = this.#nanosecondsAt(words, at, ctime)
    at += ctime
    const atime = (form >>> atimeShift) & 3
    this.atimeSeconds = this.#secondsAt(words, at, atime)
    this.atimeNanoseconds = this.#nanosecondsAt(words, at, atime)
    at += atime
    this.flags = (form & flagsBit) === 0 ? 0 : (words[at] as number)
  }

  #secondsAt(words: Uint32Array, at: number, form: number): number {
    if (form === 2) return words[at] as number
    if (form === 3) return takeSigned(words, at)
    if (form === 0) return this.mtimeSeconds
    const sum = this.mtimeNanoseconds + ((words[at] as number) | 0)
    return this.mtimeSeconds + Math.floor(sum / 1e9)
  }

  #nanosecondsAt(words: Uint32Array, at: number, form: number): number {
    if (form >= 2) return words[at + form - 1] as number
    if (form === 0) return this.mtimeNanoseconds
    const sum = this.mtimeNanoseconds + ((words[at] as number) | 0)
    return sum - Math.floor(sum / 1e9) * 1e9
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

// The form of a number is how many words it has: none for 0.
function putNumber(words: Uint32Array, at: number, value: number): number {
  return value === 0 ? 0 : 1 + putWide(words, at, value)
}

/** 1: it needs two words. */
function putWide(words: Uint32Array, at: number, value: number): number {
  words[at] = value >>> 0
  if (value < two32) return 0
  words[at + 1] = Math.floor(value / two32)
  return 1
}

function numberWords(form: number): number {
  return form & 3
}

function takeNumber(words: Uint32Array, at: number, form: number): number {
  if ((form & 3) === 0) return 0
  const low = words[at] as number
  return (form & 3) === 1 ? low : low + (words[at + 1] as number) * two32
}

// Two's complement, so that times before 1970 have a form.
function takeSigned(words: Uint32Array, at: number): number {
  return ((words[at + 1] as number) | 0) * two32 + (words[at] as number)
}

function isWord(value: number): boolean {
  return value >= 0 && value < two32
}
