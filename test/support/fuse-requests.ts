/** FUSE requests as the kernel makes them, and the replies read back: for tests of the loop without a kernel. */
import assert from "node:assert/strict"
import { metricsMemory } from "../../src/fuse/index.ts"
import { Session } from "../../src/fuse/session.ts"
import { initFlags, opcodes } from "../../src/fuse/wire.ts"
import { MemoryFileSystem, type MemoryOptions } from "../suites/memory-fs.ts"

export type Opcode = keyof typeof opcodes

/** Little-endian parts of a body: [size, value] numbers, strings (with their NUL), or bytes. */
export type Part = readonly [size: 4 | 8, value: number] | string | Uint8Array

export function body(...parts: readonly Part[]): Buffer {
  return Buffer.concat(
    parts.map((part) => {
      if (typeof part === "string") return Buffer.from(`${part}\0`, "latin1")
      if (part instanceof Uint8Array) return part
      const bytes = Buffer.alloc(part[0])
      if (part[0] === 4) bytes.writeUInt32LE(part[1])
      else bytes.writeBigUInt64LE(BigInt(part[1]))
      return bytes
    }),
  )
}

export function request(
  opcode: number,
  inode: number,
  payload: Uint8Array = new Uint8Array(0),
  unique = 2,
): Buffer {
  const header = Buffer.alloc(40)
  header.writeUInt32LE(40 + payload.length, 0)
  header.writeUInt32LE(opcode, 4)
  header.writeBigUInt64LE(BigInt(unique), 8)
  header.writeBigUInt64LE(BigInt(inode), 16)
  header.writeUInt32LE(1000, 24)
  header.writeUInt32LE(100, 28)
  return Buffer.concat([header, payload])
}

export interface Reply {
  readonly error: number
  readonly unique: number
  readonly payload: Buffer
}

export function parseReply(bytes: Buffer): Reply {
  return {
    error: bytes.readInt32LE(4),
    unique: Number(bytes.readBigUInt64LE(8)),
    payload: Buffer.from(bytes.subarray(16)),
  }
}

export const everyFlag = 0xffffffff & ~initFlags.ATOMIC_O_TRUNC

export function initBody(minor = 41, flags = everyFlag >>> 0): Buffer {
  return body([4, 7], [4, minor], [4, 131072], [4, flags], new Uint8Array(48))
}

/** A session with a filesystem in memory, past INIT. */
export class Conversation {
  readonly fs: MemoryFileSystem
  readonly session: Session
  readonly metrics = metricsMemory()
  readonly late: Reply[] = []
  readonly reports: unknown[] = []

  constructor(options: MemoryOptions = {}, init = true) {
    this.fs = new MemoryFileSystem(options)
    this.session = new Session(this.fs, this.metrics, {
      answer: (low, high, error) => {
        this.late.push({ error, unique: low + high * 2 ** 32, payload: Buffer.alloc(0) })
      },
      report: (error) => {
        this.reports.push(error)
      },
    })
    if (init) this.say("INIT", 0, initBody())
  }

  /** The reply, or undefined for none. */
  raw(bytes: Uint8Array, nowMs = 0): Reply | undefined {
    Buffer.from(this.session.input).fill(0xee)
    Buffer.from(this.session.input).set(bytes)
    const size = this.session.handle(bytes.length, nowMs)
    return size === 0 ? undefined : parseReply(Buffer.from(this.session.output, 0, size))
  }

  say(opcode: Opcode, inode: number, payload?: Uint8Array, unique?: number): Reply {
    const reply = this.raw(request(opcodes[opcode], inode, payload, unique))
    assert.ok(reply !== undefined, `${opcode} wants a reply`)
    return reply
  }

  /** A request that gets no reply, or none yet. */
  tell(opcode: Opcode, inode: number, payload?: Uint8Array, unique?: number): void {
    assert.equal(this.raw(request(opcodes[opcode], inode, payload, unique)), undefined)
  }
}
