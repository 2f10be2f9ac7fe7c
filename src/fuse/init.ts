import type { FileSystemOptions } from "./filesystem.ts"
import { initFlags as flag } from "./wire.ts"

/** What INIT settles for the life of a mount. spec/fuse.md gives the reason for each flag. */
export interface Negotiated {
  readonly minor: number
  /** Bits 0 to 31 of the answer. */
  readonly flags: number
  readonly maxReadahead: number
  readonly maxWrite: number
  readonly maxPages: number
  readonly maxBackground: number
  readonly congestionThreshold: number
  readonly timeGran: number
}

export interface InitRequest {
  readonly major: number
  readonly minor: number
  readonly maxReadahead: number
  readonly flags: number
}

export const maxWrite = 1 << 20
const pageSize = 4096
const oldestMinor = 31
const newestMinor = 45

const always =
  flag.ASYNC_READ |
  flag.BIG_WRITES |
  flag.DO_READDIRPLUS |
  flag.READDIRPLUS_AUTO |
  flag.PARALLEL_DIROPS |
  flag.MAX_PAGES |
  flag.CACHE_SYMLINKS |
  flag.NO_OPEN_SUPPORT |
  flag.NO_OPENDIR_SUPPORT |
  flag.EXPLICIT_INVAL_DATA

const forWriting =
  flag.WRITEBACK_CACHE | flag.ASYNC_DIO | flag.HANDLE_KILLPRIV_V2 | flag.SETXATTR_EXT

// Without these the loop would be wrong, not slow: zero-message opens and the killpriv rules are built on them.
const needed = [
  ["NO_OPEN_SUPPORT", flag.NO_OPEN_SUPPORT],
  ["NO_OPENDIR_SUPPORT", flag.NO_OPENDIR_SUPPORT],
  ["MAX_PAGES", flag.MAX_PAGES],
] as const
const neededForWriting = [
  ["HANDLE_KILLPRIV_V2", flag.HANDLE_KILLPRIV_V2],
  ["WRITEBACK_CACHE", flag.WRITEBACK_CACHE],
] as const

/** The answer to INIT, or in words what this kernel lacks. */
export function negotiate(request: InitRequest, options: FileSystemOptions): Negotiated | string {
  if (request.major !== 7 || request.minor < oldestMinor)
    return `wanted FUSE 7.${oldestMinor} or newer (Linux 5.12), found ${request.major}.${request.minor}`
  const required = options.readOnly ? needed : [...needed, ...neededForWriting]
  const lacking = required.filter(([, bit]) => (request.flags & bit) === 0).map(([name]) => name)
  if (lacking.length > 0)
    return `wanted a kernel with FUSE ${lacking.join(", ")} (Linux 5.12), found one without`
  const acl = options.posixAcl ? flag.POSIX_ACL | flag.DONT_MASK : 0
  const wanted = always | acl | (options.readOnly ? 0 : forWriting)
  return {
    minor: Math.min(request.minor, newestMinor),
    flags: (wanted & request.flags) >>> 0,
    maxReadahead: maxWrite,
    maxWrite,
    maxPages: maxWrite / pageSize,
    maxBackground: 64,
    congestionThreshold: 48,
    timeGran: 1,
  }
}
