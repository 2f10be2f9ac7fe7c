// Hot path: one call a request. No I/O here, so the whole protocol runs in tests on byte vectors.
import { CofferError } from "../errors.ts"
import { payloadAt, replyBuffer } from "./encode.ts"
import { Exchange, type Handler, noReply } from "./exchange.ts"
import type { FileSystem } from "./filesystem.ts"
import { fallocate, read, readdir, readdirplus, readlink, write } from "./handle-data.ts"
import { batchForget, forget, getattr, setattr, statfs } from "./handle-inodes.ts"
import {
  link,
  lookup,
  mkdir,
  mknod,
  rename,
  rename2,
  rmdir,
  symlink,
  tmpfile,
  unlink,
} from "./handle-names.ts"
import { getxattr, listxattr, removexattr, setxattr } from "./handle-xattrs.ts"
import { maxWrite, type Negotiated, negotiate } from "./init.ts"
import { LookupCounts } from "./lookups.ts"
import { MetricsWriter } from "./metrics.ts"
import { type Answer, Parked } from "./parked.ts"
import {
  errno,
  fsyncDataOnly,
  fsyncIn,
  inHeaderSize,
  initIn,
  initOut,
  offsetOf,
  opcodes,
  outHeaderSize,
} from "./wire.ts"

/** The kernel wants room for a whole WRITE; a whole READ reply fits as well. */
export const requestBufferSize = maxWrite + 8192

const done: Handler = () => 0
const unknown: Handler = () => errno.ENOSYS

/** Handler and smallest body of each opcode. What is not listed is ENOSYS, which the kernel remembers. */
const verbs: Readonly<Partial<Record<keyof typeof opcodes, readonly [Handler, number]>>> = {
  LOOKUP: [lookup, 2],
  FORGET: [forget, 8],
  GETATTR: [getattr, 16],
  SETATTR: [setattr, 88],
  READLINK: [readlink, 0],
  SYMLINK: [symlink, 4],
  MKNOD: [mknod, 18],
  MKDIR: [mkdir, 10],
  UNLINK: [unlink, 2],
  RMDIR: [rmdir, 2],
  RENAME: [rename, 12],
  LINK: [link, 10],
  READ: [read, 40],
  WRITE: [write, 40],
  STATFS: [statfs, 0],
  RELEASE: [done, 0],
  SETXATTR: [setxattr, 18],
  GETXATTR: [getxattr, 10],
  LISTXATTR: [listxattr, 8],
  REMOVEXATTR: [removexattr, 2],
  READDIR: [readdir, 40],
  RELEASEDIR: [done, 0],
  // The kernel turns ENOSYS for IOCTL into ENOTTY, but asks again each time: say it at once.
  IOCTL: [() => errno.ENOTTY, 0],
  DESTROY: [done, 0],
  BATCH_FORGET: [batchForget, 8],
  FALLOCATE: [fallocate, 32],
  READDIRPLUS: [readdirplus, 40],
  RENAME2: [rename2, 20],
  TMPFILE: [tmpfile, 16],
}

const handlers: Handler[] = Array.from({ length: 64 }, () => unknown)
const bodyMin: number[] = Array.from({ length: 64 }, () => 0)
for (const [name, code] of Object.entries(opcodes)) {
  const verb = verbs[name as keyof typeof opcodes]
  if (verb === undefined) continue
  handlers[code] = verb[0]
  bodyMin[code] = verb[1]
}

export interface SessionHooks {
  /** Sends a reply that comes later than its request. */
  readonly answer: Answer
  /** An exception in the filesystem: its caller has got EIO. */
  readonly report: (error: unknown) => void
}

/** One mount's conversation with the kernel. */
export class Session {
  readonly input: ArrayBuffer = new ArrayBuffer(requestBufferSize)
  readonly output: ArrayBuffer = new ArrayBuffer(requestBufferSize)
  readonly parked: Parked
  readonly #exchange: Exchange
  readonly #fs: FileSystem
  readonly #metrics: MetricsWriter
  readonly #hooks: SessionHooks
  #negotiated: Negotiated | undefined
  #refusal: string | undefined

  constructor(fs: FileSystem, metrics: SharedArrayBuffer, hooks: SessionHooks) {
    this.#fs = fs
    this.#hooks = hooks
    this.#metrics = new MetricsWriter(metrics)
    this.#exchange = new Exchange(
      this.input,
      replyBuffer(this.output),
      new LookupCounts(),
      this.#metrics,
    )
    this.parked = new Parked(hooks.answer)
  }

  /** True once INIT has been answered. */
  get ready(): boolean {
    return this.#negotiated !== undefined
  }

  /** Why this kernel cannot be served, once INIT has shown it. */
  get refusal(): string | undefined {
    return this.#refusal
  }

  /** Inodes that the kernel holds. */
  get inodes(): number {
    return this.#exchange.lookups.size
  }

  /** Handles the request of `size` bytes in `input`, received at `nowMs`. Returns the size of the reply in `output`, or 0 for none. */
  handle(size: number, nowMs: number): number {
    const exchange = this.#exchange
    const words = exchange.inWords
    if (size < inHeaderSize || words[0] !== size) return this.#reply(errno.EIO)
    exchange.size = size
    exchange.inode = exchange.u64(16 - inHeaderSize)
    const opcode = words[1] ?? 0
    const result = this.#dispatch(opcode, size - inHeaderSize, nowMs)
    this.#metrics.request(opcode, result, performance.now() - nowMs)
    return result === noReply ? 0 : this.#reply(result)
  }

  #dispatch(opcode: number, bodySize: number, nowMs: number): number {
    if (this.#negotiated === undefined)
      return opcode === opcodes.INIT && bodySize >= 16 ? this.#init() : errno.EIO
    const handler = handlers[opcode]
    if (bodySize < (bodyMin[opcode] ?? 0)) return opcode === opcodes.FORGET ? noReply : errno.EINVAL
    try {
      if (opcode === opcodes.FSYNC || opcode === opcodes.FSYNCDIR) return this.#fsync(nowMs)
      if (opcode === opcodes.INTERRUPT) return this.#interrupt()
      return handler === undefined ? errno.ENOSYS : handler(this.#exchange, this.#fs)
    } catch (error) {
      return this.#fault(opcode, error)
    }
  }

  /** Header and size of the reply whose payload, if any, is in place. */
  #reply(result: number): number {
    const words = this.#exchange.reply.words
    const size = result > 0 ? outHeaderSize + result : outHeaderSize
    words[0] = size
    words[1] = result < 0 ? result : 0
    words[2] = this.#exchange.inWords[2] ?? 0
    words[3] = this.#exchange.inWords[3] ?? 0
    return size
  }

  #init(): number {
    const exchange = this.#exchange
    const answer = negotiate(
      {
        major: exchange.u32(offsetOf(initIn, "major")),
        minor: exchange.u32(offsetOf(initIn, "minor")),
        maxReadahead: exchange.u32(offsetOf(initIn, "maxReadahead")),
        flags: exchange.u32(offsetOf(initIn, "flags")),
      },
      this.#fs.options,
    )
    if (typeof answer === "string") {
      this.#refusal = answer
      return errno.EOPNOTSUPP
    }
    this.#negotiated = answer
    const { bytes } = exchange.reply
    bytes.fill(0, payloadAt, payloadAt + 64)
    bytes.writeUInt32LE(7, initAt("major"))
    bytes.writeUInt32LE(answer.minor, initAt("minor"))
    bytes.writeUInt32LE(answer.maxReadahead, initAt("maxReadahead"))
    bytes.writeUInt32LE(answer.flags, initAt("flags"))
    bytes.writeUInt16LE(answer.maxBackground, initAt("maxBackground"))
    bytes.writeUInt16LE(answer.congestionThreshold, initAt("congestionThreshold"))
    bytes.writeUInt32LE(answer.maxWrite, initAt("maxWrite"))
    bytes.writeUInt32LE(answer.timeGran, initAt("timeGran"))
    bytes.writeUInt16LE(answer.maxPages, initAt("maxPages"))
    return 64
  }

  #fsync(nowMs: number): number {
    const exchange = this.#exchange
    const entry = this.parked.create(exchange.inWords[2] ?? 0, exchange.inWords[3] ?? 0)
    const dataOnly = (exchange.u32(offsetOf(fsyncIn, "fsyncFlags")) & fsyncDataOnly) !== 0
    const result = this.#fs.fsync(exchange.inode, dataOnly, entry)
    if (result !== "pending") {
      entry.waiting = false
      return result
    }
    this.parked.park(entry, nowMs)
    return noReply
  }

  // Everything but a parked fsync has its reply before the next request is read, so an interrupt of it comes too late.
  #interrupt(): number {
    const words = this.#exchange.inWords
    this.parked.interrupt(words[10] ?? 0, words[11] ?? 0)
    return noReply
  }

  #fault(opcode: number, error: unknown): number {
    if (error instanceof CofferError && error.code === "integrity") this.#metrics.tamper()
    else this.#metrics.fault()
    this.#hooks.report(error)
    const silent = opcode === opcodes.FORGET || opcode === opcodes.BATCH_FORGET
    return silent ? noReply : errno.EIO
  }

  /** Numbers that change without requests; cheap, but not for every request. */
  updateGauges(): void {
    this.#metrics.gauges(this.inodes, this.parked.size)
  }
}

function initAt(field: string): number {
  return payloadAt + offsetOf(initOut, field)
}
