// Hot path: see exchange.ts.
import { readI64, writeAttrOut, writeStatfs } from "./encode.ts"
import { type Exchange, type Handler, noReply } from "./exchange.ts"
import type { AttributeChange, FileSystem, FileSystemStatus, Time } from "./filesystem.ts"
import { errno, forgetOne, inHeaderSize, offsetOf, setattrIn, setattrValid } from "./wire.ts"

export const getattr: Handler = (exchange, fs) => {
  const result = fs.getattr(exchange.inode, exchange.attributes)
  if (result < 0) return result
  return writeAttrOut(exchange.reply, exchange.attributes, fs.options.cacheSeconds)
}

const at = {
  valid: offsetOf(setattrIn, "valid"),
  size: offsetOf(setattrIn, "size"),
  atime: offsetOf(setattrIn, "atime"),
  mtime: offsetOf(setattrIn, "mtime"),
  ctime: offsetOf(setattrIn, "ctime"),
  atimensec: offsetOf(setattrIn, "atimensec"),
  mtimensec: offsetOf(setattrIn, "mtimensec"),
  ctimensec: offsetOf(setattrIn, "ctimensec"),
  mode: offsetOf(setattrIn, "mode"),
  uid: offsetOf(setattrIn, "uid"),
  gid: offsetOf(setattrIn, "gid"),
}

export const setattr: Handler = (exchange, fs) => {
  const valid = exchange.u32(at.valid)
  const { change } = exchange
  const has = (bit: number) => (valid & bit) !== 0
  change.mode = has(setattrValid.MODE) ? exchange.u32(at.mode) : undefined
  change.uid = has(setattrValid.UID) ? exchange.u32(at.uid) : undefined
  change.gid = has(setattrValid.GID) ? exchange.u32(at.gid) : undefined
  change.size = has(setattrValid.SIZE) ? exchange.u64(at.size) : undefined
  change.killPriv = has(setattrValid.KILL_SUIDGID)
  fillTimes(exchange, change, valid)
  if (change.size !== undefined && change.size > fs.options.maxFileSize) return errno.EFBIG
  const result = fs.setattr(exchange.inode, change, exchange.attributes)
  if (result < 0) return result
  return writeAttrOut(exchange.reply, exchange.attributes, fs.options.cacheSeconds)
}

function fillTimes(exchange: Exchange, change: AttributeChange, valid: number): void {
  change.atime = undefined
  change.mtime = undefined
  change.ctime = undefined
  if ((valid & setattrValid.ATIME_NOW) !== 0) change.atime = "now"
  else if ((valid & setattrValid.ATIME) !== 0) change.atime = time(exchange, at.atime, at.atimensec)
  if ((valid & setattrValid.MTIME_NOW) !== 0) change.mtime = "now"
  else if ((valid & setattrValid.MTIME) !== 0) change.mtime = time(exchange, at.mtime, at.mtimensec)
  if ((valid & setattrValid.CTIME) !== 0) change.ctime = time(exchange, at.ctime, at.ctimensec)
}

function time(exchange: Exchange, seconds: number, nanoseconds: number): Time {
  return {
    seconds: readI64(exchange.inWords, inHeaderSize + seconds),
    nanoseconds: Math.min(exchange.u32(nanoseconds), 999_999_999),
  }
}

function forgetInode(exchange: Exchange, fs: FileSystem, inode: number, count: number): void {
  if (exchange.lookups.decrement(inode, count)) fs.forget(inode)
}

export const forget: Handler = (exchange, fs) => {
  forgetInode(exchange, fs, exchange.inode, exchange.u64(0))
  return noReply
}

const forgetOneSize = 16
const forgetCount = offsetOf(forgetOne, "nlookup")

export const batchForget: Handler = (exchange, fs) => {
  const fits = Math.floor((exchange.size - inHeaderSize - 8) / forgetOneSize)
  const count = Math.min(exchange.u32(0), fits)
  for (let i = 0; i < count; i += 1) {
    const one = 8 + i * forgetOneSize
    forgetInode(exchange, fs, exchange.u64(one), exchange.u64(one + forgetCount))
  }
  return noReply
}

const status: FileSystemStatus = {
  blockSize: 4096,
  blocks: 0,
  blocksFree: 0,
  blocksAvailable: 0,
  files: 0,
  filesFree: 0,
  nameMax: 255,
}

export const statfs: Handler = (exchange, fs) => {
  const result = fs.statfs(status)
  return result < 0 ? result : writeStatfs(exchange.reply, status)
}
