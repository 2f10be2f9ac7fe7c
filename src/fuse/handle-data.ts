// Hot path: see exchange.ts. Payloads are read from the request and written into the reply with no copy in between.
import type { ByteString } from "../bytes/index.ts"
import { payloadAt, writeDirent, writeEntry, writeU64 } from "./encode.ts"
import type { Exchange, Handler } from "./exchange.ts"
import type { EmitEntry, FileSystem } from "./filesystem.ts"
import {
  entrySize,
  errno,
  fallocateIn,
  inHeaderSize,
  offsetOf,
  readIn,
  writeIn,
  writeKillSuidgid,
} from "./wire.ts"

const readOffset = offsetOf(readIn, "offset")
const readSize = offsetOf(readIn, "size")

export const read: Handler = (exchange, fs) => {
  const size = Math.min(exchange.u32(readSize), exchange.room)
  const offset = exchange.u64(readOffset)
  const result = fs.read(exchange.inode, offset, size, exchange.reply.bytes, payloadAt)
  if (result > 0) exchange.metrics.read(result)
  return result
}

const writeOffset = offsetOf(writeIn, "offset")
const writeSize = offsetOf(writeIn, "size")
const writeFlags = offsetOf(writeIn, "writeFlags")
const writeDataAt = inHeaderSize + 40

export const write: Handler = (exchange, fs) => {
  const size = exchange.u32(writeSize)
  const offset = exchange.u64(writeOffset)
  if (writeDataAt + size > exchange.size) return errno.EINVAL
  if (offset + size > fs.options.maxFileSize) return errno.EFBIG
  const kill = (exchange.u32(writeFlags) & writeKillSuidgid) !== 0
  const result = fs.write(exchange.inode, offset, exchange.input, writeDataAt, size, kill)
  if (result < 0) return result
  exchange.metrics.written(result)
  writeU64(exchange.reply.words, payloadAt, result)
  return 8
}

const fallocateOffset = offsetOf(fallocateIn, "offset")
const fallocateLength = offsetOf(fallocateIn, "length")
const fallocateMode = offsetOf(fallocateIn, "mode")

export const fallocate: Handler = (exchange, fs) => {
  const offset = exchange.u64(fallocateOffset)
  const size = exchange.u64(fallocateLength)
  if (offset + size > fs.options.maxFileSize) return errno.EFBIG
  return fs.fallocate(exchange.inode, offset, size, exchange.u32(fallocateMode))
}

export const readlink: Handler = (exchange, fs) => {
  const target = fs.readlink(exchange.inode)
  if (typeof target === "number") return target
  return exchange.reply.bytes.write(target, payloadAt, "latin1")
}

// One listing is under way at a time, so its state is kept here: no closure is made for an entry.
let listing: Exchange | undefined
let listed: FileSystem | undefined
let position = 0
let limit = 0

const emitPlain: EmitEntry = (name, inode, type, nextCookie) => {
  if (listing === undefined) return false
  const size = writeDirent(listing.reply, position, limit, name, inode, type, nextCookie)
  position += size
  return size > 0
}

const emitPlus: EmitEntry = (name, inode, type, nextCookie, fill) => {
  if (listing === undefined || listed === undefined) return false
  const entryAt = position
  const size = writeDirent(listing.reply, entryAt + entrySize, limit, name, inode, type, nextCookie)
  if (size === 0) return false
  position += entrySize + size
  // The kernel takes no reference from `.` and `..`, so nothing is counted and the entry stays empty.
  if (isDots(name)) {
    listing.reply.bytes.fill(0, entryAt, entryAt + entrySize)
    return true
  }
  fill(listing.attributes)
  writeEntry(listing.reply.words, entryAt, listing.attributes, listed.options.cacheSeconds)
  listing.lookups.increment(inode)
  return true
}

function isDots(name: ByteString): boolean {
  return name === "." || name === ".."
}

function list(exchange: Exchange, fs: FileSystem, emit: EmitEntry): number {
  listing = exchange
  listed = fs
  position = payloadAt
  limit = payloadAt + Math.min(exchange.u32(readSize), exchange.room)
  const result = fs.readdir(exchange.inode, exchange.u64(readOffset), emit)
  listing = undefined
  // What was emitted counts already, so it must reach the kernel; the error comes again with the next call.
  return result < 0 && position === payloadAt ? result : position - payloadAt
}

export const readdir: Handler = (exchange, fs) => list(exchange, fs, emitPlain)
export const readdirplus: Handler = (exchange, fs) => list(exchange, fs, emitPlus)
