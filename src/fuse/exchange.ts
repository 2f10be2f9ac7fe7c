// Hot path: one object for the life of the loop; a request is read in place, its reply written in place.
import type { ByteString } from "../bytes/index.ts"
import { type ReplyBuffer, readU64 } from "./encode.ts"
import type { AttributeChange, Attributes, Caller, FileSystem } from "./filesystem.ts"
import type { LookupCounts } from "./lookups.ts"
import type { MetricsWriter } from "./metrics.ts"
import { errno, inHeaderSize, outHeaderSize } from "./wire.ts"

/** What a handler returns when the protocol wants no reply, or the reply comes later. */
export const noReply = -10_000

/** The reply to a handler's caller: a payload's size, a negative errno, or `noReply`. */
export type Handler = (exchange: Exchange, fs: FileSystem) => number

/** One request and the reply to it. */
export class Exchange {
  readonly input: Buffer
  readonly inWords: Uint32Array
  readonly reply: ReplyBuffer
  readonly lookups: LookupCounts
  readonly metrics: MetricsWriter
  readonly attributes: Attributes = emptyAttributes()
  readonly caller: Caller = { uid: 0, gid: 0, pid: 0, umask: 0 }
  readonly change: AttributeChange = emptyChange()
  /** Bytes of the request, header included. */
  size = 0
  inode = 0

  constructor(
    input: ArrayBuffer,
    reply: ReplyBuffer,
    lookups: LookupCounts,
    metrics: MetricsWriter,
  ) {
    this.input = Buffer.from(input)
    this.inWords = new Uint32Array(input)
    this.reply = reply
    this.lookups = lookups
    this.metrics = metrics
  }

  /** A field of the body, which begins at 0. */
  u32(at: number): number {
    return this.inWords[(inHeaderSize + at) >> 2] ?? 0
  }

  u64(at: number): number {
    return readU64(this.inWords, inHeaderSize + at)
  }

  /** Payload bytes that fit in the reply. */
  get room(): number {
    return this.reply.bytes.length - outHeaderSize
  }

  fillCaller(umask: number): Caller {
    const { caller, inWords } = this
    caller.uid = inWords[6] ?? 0
    caller.gid = inWords[7] ?? 0
    caller.pid = inWords[8] ?? 0
    caller.umask = umask
    return caller
  }

  /** The one string from `at` (in the body) to the end; undefined when there is none. Look at it with `badName`. */
  lastString(at: number): ByteString | undefined {
    const from = inHeaderSize + at
    const end = this.input.indexOf(0, from)
    if (end !== this.size - 1) return undefined
    return this.#slice(from, end)
  }

  /** Where in the body the string from `at` ends (its NUL), or -1. */
  endOfString(at: number): number {
    const end = this.input.indexOf(0, inHeaderSize + at)
    return end < 0 || end >= this.size ? -1 : end - inHeaderSize
  }

  string(at: number, end: number): ByteString {
    return this.#slice(inHeaderSize + at, inHeaderSize + end)
  }

  #slice(from: number, end: number): ByteString {
    return this.input.toString("latin1", from, end) as ByteString
  }
}

/** 0, or the errno for a name that no filesystem of ours may get. */
export function badName(name: ByteString | undefined): number {
  if (name === undefined || name.length === 0) return errno.EINVAL
  if (name.length > 255) return errno.ENAMETOOLONG
  // "." and ".." come only with EXPORT_SUPPORT, which we never negotiate, and a slash never.
  if (name === "." || name === "..") return errno.EINVAL
  return name.includes("/") ? errno.EINVAL : 0
}

function emptyAttributes(): Attributes {
  return {
    inode: 0,
    size: 0,
    blocks: 0,
    mode: 0,
    linkCount: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blockSize: 4096,
    atimeSeconds: 0,
    atimeNanoseconds: 0,
    mtimeSeconds: 0,
    mtimeNanoseconds: 0,
    ctimeSeconds: 0,
    ctimeNanoseconds: 0,
  }
}

function emptyChange(): AttributeChange {
  return {
    mode: undefined,
    uid: undefined,
    gid: undefined,
    size: undefined,
    atime: undefined,
    mtime: undefined,
    ctime: undefined,
    killPriv: false,
  }
}
