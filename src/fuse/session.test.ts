import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { MemoryFileSystem } from "../../test/suites/memory-fs.ts"
import {
  body,
  Conversation,
  everyFlag,
  initBody,
  type Opcode,
  parseReply,
  request,
} from "../../test/support/fuse-requests.ts"
import { CofferError } from "../errors.ts"
import { type Completion, type Device, metricsMemory, readMetrics, runLoop } from "./index.ts"
import { errno, opcodes } from "./wire.ts"

const regular = 0o100644

function makeFile(talk: Conversation, name: string, mode = regular): number {
  const reply = talk.say("MKNOD", 1, body([4, mode], [4, 0], [4, 0], [4, 0], name))
  assert.equal(reply.error, 0)
  return Number(reply.payload.readBigUInt64LE(0))
}

test("before INIT nothing is served, and a second INIT is refused", () => {
  const talk = new Conversation({}, false)
  assert.equal(talk.say("GETATTR", 1, new Uint8Array(16)).error, errno.EIO)
  const reply = talk.say("INIT", 0, initBody())
  assert.equal(reply.payload.length, 64)
  assert.equal(reply.payload.readUInt32LE(0), 7)
  assert.equal(reply.payload.readUInt32LE(20), 1 << 20)
  assert.equal(reply.payload.readUInt32LE(12) & ~everyFlag, 0)
  assert.equal(talk.say("INIT", 0, initBody()).error, errno.ENOSYS)
})

test("an INIT that cannot be served is refused with a reason", () => {
  const talk = new Conversation({}, false)
  assert.equal(talk.say("INIT", 0, initBody(12)).error, errno.EOPNOTSUPP)
  assert.match(talk.session.refusal ?? "", /wanted FUSE 7\.31/)
  assert.ok(!talk.session.ready)
})

test("a file's way: mknod, write, read, lookup, setattr, unlink, forget", () => {
  const talk = new Conversation()
  const inode = makeFile(talk, "a")
  const data = Buffer.from("hello")
  const header = [
    [8, 0],
    [8, 3],
    [4, 5],
    [4, 0],
    [8, 0],
    [4, 0],
    [4, 0],
  ] as const
  assert.equal(talk.say("WRITE", inode, body(...header, data)).payload.readUInt32LE(0), 5)
  const readHeader = [
    [8, 0],
    [8, 0],
    [4, 100],
    [4, 0],
    [8, 0],
    [4, 0],
    [4, 0],
  ] as const
  const read = talk.say("READ", inode, body(...readHeader))
  assert.deepEqual(read.payload, Buffer.from("\0\0\0hello"))
  assert.equal(talk.say("LOOKUP", 1, body("a")).payload.readBigUInt64LE(0), BigInt(inode))
  const setattr = Buffer.alloc(88)
  setattr.writeUInt32LE(1 << 3, 0)
  setattr.writeBigUInt64LE(1n << 43n, 16)
  assert.equal(talk.say("SETATTR", inode, setattr).error, 0)
  setattr.writeBigUInt64LE((1n << 43n) + 1n, 16)
  assert.equal(talk.say("SETATTR", inode, setattr).error, errno.EFBIG)
  assert.equal(talk.say("UNLINK", 1, body("a")).error, 0)
  assert.equal(talk.session.inodes, 1)
  talk.tell("FORGET", inode, body([8, 1]))
  assert.equal(talk.fs.inodeCount, 2)
  talk.tell("BATCH_FORGET", 0, body([4, 1], [4, 0], [8, inode], [8, 1]))
  assert.equal(talk.fs.inodeCount, 1)
})

test("a name that is not there is one that the kernel may remember", () => {
  const reply = new Conversation().say("LOOKUP", 1, body("none"))
  assert.equal(reply.error, 0)
  assert.equal(reply.payload.length, 128)
  assert.equal(reply.payload.readBigUInt64LE(0), 0n)
  assert.equal(reply.payload.readBigUInt64LE(16), 3600n)
})

test("readdirplus counts what it tells, but not the dots; a full buffer goes on at the cookie", () => {
  const talk = new Conversation()
  for (let i = 0; i < 50; i += 1) makeFile(talk, `file-${i}`)
  assert.equal(talk.session.inodes, 50)
  const names: string[] = []
  for (let cookie = 0, more = true; more; ) {
    const header = [
      [8, 0],
      [8, cookie],
      [4, 1000],
      [4, 0],
      [8, 0],
      [4, 0],
      [4, 0],
    ] as const
    const reply = talk.say("READDIRPLUS", 1, body(...header))
    const bytes = reply.payload
    assert.ok(bytes.length <= 1000)
    more = bytes.length > 0
    for (let at = 0; at < bytes.length; ) {
      const size = bytes.readUInt32LE(at + 128 + 16)
      cookie = Number(bytes.readBigUInt64LE(at + 128 + 8))
      names.push(bytes.toString("latin1", at + 152, at + 152 + size))
      at += (152 + size + 7) & ~7
    }
  }
  assert.equal(names.length, 52)
  assert.equal(new Set(names).size, 52)
  for (let inode = 2; inode <= 51; inode += 1) talk.tell("FORGET", inode, body([8, 2]))
  assert.equal(talk.session.inodes, 0)
  assert.equal(talk.fs.inodeCount, 51)
})

test("zero-message opens, and ENOSYS for all that we leave to the kernel", () => {
  const talk = new Conversation()
  const left: readonly Opcode[] = ["OPEN", "OPENDIR", "FLUSH", "CREATE", "LSEEK", "ACCESS", "POLL"]
  for (const opcode of [...left, "STATX", "SYNCFS", "COPY_FILE_RANGE", "GETLK", "BMAP"] as const)
    assert.equal(talk.say(opcode, 1, new Uint8Array(56)).error, errno.ENOSYS, opcode)
  assert.equal(talk.raw(request(63, 1))?.error, errno.ENOSYS)
  assert.equal(talk.raw(request(4096, 1))?.error, errno.ENOSYS)
})

test("names: too long, empty, with a slash, dots, without an end", () => {
  const talk = new Conversation()
  assert.equal(talk.say("LOOKUP", 1, body("n".repeat(256))).error, errno.ENAMETOOLONG)
  for (const name of ["", ".", "..", "a/b", "a\0b"])
    assert.equal(talk.say("LOOKUP", 1, body(name, "")).error, errno.EINVAL, name)
  assert.equal(talk.say("LOOKUP", 1, Buffer.from("abc")).error, errno.EINVAL)
  assert.equal(talk.say("RENAME2", 1, body([8, 1], [4, 0], [4, 0], "a")).error, errno.EINVAL)
})

test("xattrs: sizes asked for, too little room, namespaces", () => {
  const talk = new Conversation()
  const value = Buffer.from("value")
  const set = (name: string) =>
    talk.say("SETXATTR", 1, body([4, 5], [4, 0], [4, 0], [4, 0], name, value)).error
  assert.equal(set("user.a"), 0)
  assert.equal(set("strange"), errno.EOPNOTSUPP)
  assert.equal(set("user."), errno.EINVAL)
  const get = (size: number) => talk.say("GETXATTR", 1, body([4, size], [4, 0], "user.a"))
  assert.equal(get(0).payload.readUInt32LE(0), 5)
  assert.equal(get(4).error, errno.ERANGE)
  assert.deepEqual(get(5).payload, value)
  assert.equal(
    talk.say("SETXATTR", 1, body([4, 6], [4, 0], [4, 0], [4, 0], "user.a", value)).error,
    errno.EINVAL,
  )
})

test("without POSIX_ACL an ACL is refused, since nobody would enforce it", () => {
  const talk = new Conversation({ options: { posixAcl: false } })
  const name = "system.posix_acl_access"
  assert.equal(
    talk.say("SETXATTR", 1, body([4, 1], [4, 0], [4, 0], [4, 0], name, "x")).error,
    errno.EOPNOTSUPP,
  )
})

test("an exception is EIO for its caller and a report, and the next request is served", () => {
  const talk = new Conversation()
  assert.equal(talk.say("GETATTR", 99, new Uint8Array(16)).error, errno.EIO)
  assert.equal(talk.reports.length, 1)
  talk.fs.read = () => {
    throw new CofferError("integrity", "a frame that does not verify")
  }
  assert.equal(talk.say("READ", 1, new Uint8Array(40)).error, errno.EIO)
  assert.equal(talk.say("GETATTR", 1, new Uint8Array(16)).error, 0)
  const { faults, tamperEvents } = readMetrics(talk.metrics)
  assert.deepEqual({ faults, tamperEvents }, { faults: 1, tamperEvents: 1 })
})

test("an fsync that waits gets one reply: done, interrupted or too late", () => {
  const talk = new Conversation()
  const waiting: Completion[] = []
  talk.fs.fsync = (_inode, _dataOnly, completion) => {
    waiting.push(completion)
    return "pending"
  }
  for (const unique of [10, 12, 14]) talk.tell("FSYNC", 1, new Uint8Array(16), unique)
  waiting[0]?.done(0)
  waiting[0]?.done(0)
  talk.tell("INTERRUPT", 0, body([8, 12]))
  const [, second] = waiting
  assert.ok(second !== undefined && !second.waiting)
  second.done(0)
  talk.session.parked.expire(29_999)
  assert.equal(talk.late.length, 2)
  talk.session.parked.expire(30_000)
  assert.deepEqual(
    talk.late.map(({ unique, error }) => [unique, error]),
    [
      [10, 0],
      [12, errno.EINTR],
      [14, errno.EIO],
    ],
  )
  talk.tell("INTERRUPT", 0, body([8, 999]))
  assert.equal(talk.late.length, 3)
})

test("a request cut or lengthened anywhere, or of random bytes, is an error at most", () => {
  const talk = new Conversation()
  const codes = Object.values(opcodes)
  const anyBody = fc.uint8Array({ maxLength: 200 })
  fc.assert(
    fc.property(fc.constantFrom(...codes), fc.nat(3), anyBody, (code, inode, payload) => {
      const reply = talk.raw(request(code, inode, payload))
      if (reply === undefined) return
      assert.equal(reply.unique, 2)
      assert.ok(reply.error <= 0 && reply.error > -4096)
      assert.ok(reply.error === 0 || reply.payload.length === 0)
    }),
    { numRuns: 3000 },
  )
  for (let size = 0; size < 40; size += 1)
    assert.equal(talk.raw(request(opcodes.GETATTR, 1).subarray(0, size))?.error, errno.EIO)
  const lying = request(opcodes.LOOKUP, 1, body("a"))
  lying.writeUInt32LE(9999, 0)
  assert.equal(talk.raw(lying)?.error, errno.EIO)
})

/** A device that hands out given requests and then ends. */
class ScriptedDevice implements Device {
  readonly replies: { error: number; unique: number }[] = []
  readonly #requests: Uint8Array[]
  #input = Buffer.alloc(0)
  #output: ArrayBuffer = new ArrayBuffer(0)
  #idle: boolean

  constructor(requests: Uint8Array[], idle = false) {
    this.#requests = requests
    this.#idle = idle
  }

  attach(input: ArrayBuffer, output: ArrayBuffer): void {
    this.#input = Buffer.from(input)
    this.#output = output
  }

  receive(): number {
    const next = this.#requests.shift()
    if (next === undefined) {
      if (this.#idle) return 0
      return -1
    }
    this.#input.set(next)
    return next.length
  }

  wait(): boolean {
    this.#idle = false
    return true
  }

  send(size: number): number {
    this.replies.push(parseReply(Buffer.from(this.#output, 0, size)))
    return 0
  }
}

const quiet = { report: () => undefined, ready: () => undefined, stopped: () => false }

test("the loop ticks when it is woken, destroys at the end, and completes late replies", () => {
  const fs = new MemoryFileSystem()
  let pending: { done: (error: number) => void } | undefined
  let ready = 0
  fs.fsync = (_inode, _dataOnly, completion) => {
    pending = completion
    return "pending"
  }
  fs.tick = () => {
    pending?.done(0)
    return 1000
  }
  const init = request(opcodes.INIT, 0, initBody(), 1)
  const fsync = request(opcodes.FSYNC, 1, new Uint8Array(16), 5)
  const device = new ScriptedDevice([init, fsync], true)
  runLoop(device, fs, { ...quiet, metrics: metricsMemory(), ready: () => void (ready += 1) })
  assert.equal(ready, 1)
  assert.equal(fs.destroyed, 1)
  assert.deepEqual(
    device.replies.map(({ error, unique }) => [error, unique]),
    [
      [0, 1],
      [0, 5],
    ],
  )
})

test("reads that wait together are announced, and each is answered", () => {
  const fs = new MemoryFileSystem()
  const announced: number[] = []
  const order: number[] = []
  fs.read = (_inode, offset) => {
    order.push(offset)
    return 0
  }
  const prefetching = Object.assign(fs, {
    prefetch: (_inode: number, offset: number) => void announced.push(offset),
  })
  const init = request(opcodes.INIT, 0, initBody(), 1)
  const reads = Array.from({ length: 40 }, (_, i) => {
    const header = [
      [8, 0],
      [8, i],
      [4, 1],
      [4, 0],
      [8, 0],
      [4, 0],
      [4, 0],
    ] as const
    return request(opcodes.READ, 1, body(...header), 100 + i)
  })
  const getattr = request(opcodes.GETATTR, 1, new Uint8Array(16), 7)
  const device = new ScriptedDevice(
    [init, ...reads.slice(0, 20), getattr, ...reads.slice(20)],
    true,
  )
  runLoop(device, prefetching, { ...quiet, metrics: metricsMemory() })
  const all = Array.from({ length: 40 }, (_, i) => i)
  assert.deepEqual(order, all)
  assert.deepEqual(announced, all)
  const uniques = device.replies.map(({ unique }) => unique)
  assert.deepEqual(
    uniques.toSorted((a, b) => a - b),
    [1, 7, ...all.map((i) => 100 + i)],
  )
})

test("spare work is done while nothing is asked, in steps, and what it throws ends it alone", () => {
  const fs = new MemoryFileSystem()
  const init = request(opcodes.INIT, 0, initBody(), 1)
  const getattr = request(opcodes.GETATTR, 1, new Uint8Array(16), 5)
  const done: string[] = []
  function* spare(): Generator<void> {
    for (const step of ["one", "two"]) {
      done.push(step)
      yield
    }
    throw new Error("spare")
  }
  const reports: unknown[] = []
  const device = new ScriptedDevice([init, getattr, getattr], true)
  const ended = device.receive.bind(device)
  const patience = performance.now() + 10_000
  device.receive = () => {
    const size = ended()
    // The mount ends only after the spare work has had its time.
    return size < 0 && reports.length === 0 && performance.now() < patience ? 0 : size
  }
  runLoop(device, fs, {
    ...quiet,
    metrics: metricsMemory(),
    report: (error) => reports.push(error),
    spare: spare(),
  })
  assert.deepEqual(
    device.replies.map(({ error, unique }) => [error, unique]),
    [
      [0, 1],
      [0, 5],
      [0, 5],
    ],
  )
  assert.deepEqual(done, ["one", "two"])
  assert.match(String(reports), /spare/)
})

test("one read alone is not announced", () => {
  const fs = Object.assign(new MemoryFileSystem(), { prefetch: () => assert.fail("announced") })
  const init = request(opcodes.INIT, 0, initBody(), 1)
  const device = new ScriptedDevice([init, request(opcodes.READ, 1, new Uint8Array(40), 5)], true)
  runLoop(device, fs, { ...quiet, metrics: metricsMemory() })
  assert.deepEqual(
    device.replies.map(({ unique }) => unique),
    [1, 5],
  )
})

test("the loop ends with a sentence when the kernel is too old, and when it is told to", () => {
  const fs = new MemoryFileSystem()
  const old = new ScriptedDevice([request(opcodes.INIT, 0, initBody(12))])
  assert.throws(
    () => runLoop(old, fs, { ...quiet, metrics: metricsMemory() }),
    (error) => error instanceof CofferError && error.code === "missing",
  )
  assert.equal(fs.destroyed, 1)
  const device = new ScriptedDevice([request(opcodes.INIT, 0, initBody())], true)
  runLoop(device, fs, {
    ...quiet,
    metrics: metricsMemory(),
    stopped: () => device.replies.length > 0,
  })
  assert.equal(fs.destroyed, 2)
})
