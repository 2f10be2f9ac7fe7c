import assert from "node:assert/strict"
import { test } from "node:test"
import { tableFaults } from "../bytes/index.ts"
import { readI64, readU64, replyBuffer, writeAttributes, writeDirent, writeU64 } from "./encode.ts"
import { type InitRequest, negotiate } from "./init.ts"
import { attr, direntHeader, initFlags, offsetOf, structs } from "./wire.ts"

test("every struct's fields touch and add up to the kernel's size", () => {
  for (const [name, table, size] of structs) assert.deepEqual(tableFaults(table, size), [], name)
})

test("64-bit numbers survive, negative ones too", () => {
  const { words } = replyBuffer(new ArrayBuffer(16))
  for (const value of [0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1]) {
    writeU64(words, 8, value)
    assert.equal(readU64(words, 8), value)
  }
  for (const value of [-1, -(2 ** 31), -(2 ** 32), -(2 ** 40) - 5]) {
    writeU64(words, 8, value)
    assert.equal(readI64(words, 8), value)
    assert.equal(new BigInt64Array(words.buffer)[1], BigInt(value))
  }
})

function at(field: string): number {
  return 16 + offsetOf(attr, field)
}

test("attributes stand where the table says", () => {
  const reply = replyBuffer(new ArrayBuffer(104))
  writeAttributes(reply.words, 16, {
    inode: 2 ** 40 + 1,
    size: 5_000_000_000,
    blocks: 9,
    mode: 0o100644,
    linkCount: 3,
    uid: 4_294_967_294,
    gid: 7,
    rdev: 0x12345,
    blockSize: 4096,
    atimeSeconds: -1,
    atimeNanoseconds: 1,
    mtimeSeconds: 2,
    mtimeNanoseconds: 999_999_999,
    ctimeSeconds: 3,
    ctimeNanoseconds: 4,
  })
  assert.equal(reply.bytes.readBigUInt64LE(at("ino")), 2n ** 40n + 1n)
  assert.equal(reply.bytes.readBigUInt64LE(at("size")), 5_000_000_000n)
  assert.equal(reply.bytes.readBigInt64LE(at("atime")), -1n)
  assert.equal(reply.bytes.readUInt32LE(at("mtimensec")), 999_999_999)
  assert.equal(reply.bytes.readUInt32LE(at("mode")), 0o100644)
  assert.equal(reply.bytes.readUInt32LE(at("uid")), 4_294_967_294)
  assert.equal(reply.bytes.readUInt32LE(at("rdev")), 0x12345)
  assert.equal(reply.bytes.readUInt32LE(at("blksize")), 4096)
})

test("a directory entry is padded to 8 bytes and never passes the limit", () => {
  const reply = replyBuffer(new ArrayBuffer(64))
  reply.bytes.fill(0xff)
  assert.equal(writeDirent(reply, 16, 47, "grün\xff", 5, 8, 77), 0)
  assert.equal(writeDirent(reply, 16, 48, "gr\xfcn\xff", 5, 8, 77), 32)
  assert.equal(reply.bytes.readUInt32LE(16 + offsetOf(direntHeader, "namelen")), 5)
  assert.equal(reply.bytes.subarray(40, 48).toString("hex"), "6772fc6eff000000")
})

const options = { readOnly: false, cacheSeconds: 1, posixAcl: true, maxFileSize: 1 }
const every = { major: 7, minor: 99, maxReadahead: 1, flags: 0xffffffff }

test("INIT takes what it knows of what is offered, and never ATOMIC_O_TRUNC", () => {
  const answer = negotiate(every, options)
  assert.ok(typeof answer === "object")
  assert.equal(answer.flags & initFlags.ATOMIC_O_TRUNC, 0)
  assert.notEqual(answer.flags & initFlags.WRITEBACK_CACHE, 0)
  assert.notEqual(answer.flags & initFlags.DONT_MASK, 0)
  assert.equal(answer.minor, 45)
  const readOnly = negotiate(every, { ...options, readOnly: true, posixAcl: false })
  assert.ok(typeof readOnly === "object")
  assert.equal(readOnly.flags & (initFlags.WRITEBACK_CACHE | initFlags.POSIX_ACL), 0)
})

function refusal(request: InitRequest): string {
  const answer = negotiate(request, options)
  return typeof answer === "string" ? answer : ""
}

test("an old kernel is refused in words", () => {
  assert.match(refusal({ ...every, minor: 30 }), /wanted FUSE 7.31/)
  const flags = (every.flags & ~initFlags.HANDLE_KILLPRIV_V2) >>> 0
  assert.match(refusal({ ...every, flags }), /HANDLE_KILLPRIV_V2/)
  assert.ok(typeof negotiate({ ...every, flags }, { ...options, readOnly: true }) === "object")
})
