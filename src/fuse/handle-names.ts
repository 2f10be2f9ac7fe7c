// Hot path: see exchange.ts.
import { payloadAt, writeEntry, writeNegativeEntry } from "./encode.ts"
import { badName, type Exchange, type Handler } from "./exchange.ts"
import type { FileSystem } from "./filesystem.ts"
import { entrySize, errno, mkdirIn, mknodIn, offsetOf, openOutSize, rename2In } from "./wire.ts"

const symlinkTargetMax = 4095

/** The reply of every verb that makes the kernel know an inode: it counts, and FORGET gives the counts back. */
function entryReply(exchange: Exchange, fs: FileSystem, result: number): number {
  if (result < 0) return result
  const { attributes, reply } = exchange
  exchange.lookups.increment(attributes.inode)
  return writeEntry(reply.words, payloadAt, attributes, fs.options.cacheSeconds)
}

export const lookup: Handler = (exchange, fs) => {
  const name = exchange.lastString(0)
  const bad = badName(name)
  if (bad !== 0 || name === undefined) return bad
  const result = fs.lookup(exchange.inode, name, exchange.attributes)
  if (result === errno.ENOENT) return writeNegativeEntry(exchange.reply, fs.options.cacheSeconds)
  return entryReply(exchange, fs, result)
}

const mknodMode = offsetOf(mknodIn, "mode")
const mknodRdev = offsetOf(mknodIn, "rdev")
const mknodUmask = offsetOf(mknodIn, "umask")

export const mknod: Handler = (exchange, fs) => {
  const name = exchange.lastString(16)
  const bad = badName(name)
  if (bad !== 0 || name === undefined) return bad
  const caller = exchange.fillCaller(exchange.u32(mknodUmask))
  const mode = exchange.u32(mknodMode)
  const rdev = exchange.u32(mknodRdev)
  return entryReply(
    exchange,
    fs,
    fs.mknod(exchange.inode, name, mode, rdev, caller, exchange.attributes),
  )
}

const mkdirMode = offsetOf(mkdirIn, "mode")
const mkdirUmask = offsetOf(mkdirIn, "umask")

export const mkdir: Handler = (exchange, fs) => {
  const name = exchange.lastString(8)
  const bad = badName(name)
  if (bad !== 0 || name === undefined) return bad
  const caller = exchange.fillCaller(exchange.u32(mkdirUmask))
  const mode = exchange.u32(mkdirMode)
  return entryReply(exchange, fs, fs.mkdir(exchange.inode, name, mode, caller, exchange.attributes))
}

export const symlink: Handler = (exchange, fs) => {
  const end = exchange.endOfString(0)
  if (end < 0) return errno.EINVAL
  const name = exchange.string(0, end)
  const target = exchange.lastString(end + 1)
  const bad = badName(name)
  if (bad !== 0) return bad
  if (target === undefined || target.length === 0) return errno.EINVAL
  if (target.length > symlinkTargetMax) return errno.ENAMETOOLONG
  const caller = exchange.fillCaller(0)
  return entryReply(
    exchange,
    fs,
    fs.symlink(exchange.inode, name, target, caller, exchange.attributes),
  )
}

export const link: Handler = (exchange, fs) => {
  const name = exchange.lastString(8)
  const bad = badName(name)
  if (bad !== 0 || name === undefined) return bad
  return entryReply(
    exchange,
    fs,
    fs.link(exchange.u64(0), exchange.inode, name, exchange.attributes),
  )
}

const createMode = 4
const createUmask = 8

/** The name in the request says nothing: the file has none. */
export const tmpfile: Handler = (exchange, fs) => {
  const caller = exchange.fillCaller(exchange.u32(createUmask))
  const mode = exchange.u32(createMode)
  const result = entryReply(
    exchange,
    fs,
    fs.tmpfile(exchange.inode, mode, caller, exchange.attributes),
  )
  if (result < 0) return result
  exchange.reply.bytes.fill(0, payloadAt + entrySize, payloadAt + entrySize + openOutSize)
  return entrySize + openOutSize
}

export const unlink: Handler = (exchange, fs) => {
  const name = exchange.lastString(0)
  const bad = badName(name)
  return bad !== 0 || name === undefined ? bad : fs.unlink(exchange.inode, name)
}

export const rmdir: Handler = (exchange, fs) => {
  const name = exchange.lastString(0)
  const bad = badName(name)
  return bad !== 0 || name === undefined ? bad : fs.rmdir(exchange.inode, name)
}

function renameFrom(exchange: Exchange, fs: FileSystem, namesAt: number, flags: number): number {
  const end = exchange.endOfString(namesAt)
  if (end < 0) return errno.EINVAL
  const name = exchange.string(namesAt, end)
  const newName = exchange.lastString(end + 1)
  const bad = badName(name) || badName(newName)
  if (bad !== 0 || newName === undefined) return bad
  return fs.rename(exchange.inode, name, exchange.u64(0), newName, flags)
}

export const rename: Handler = (exchange, fs) => renameFrom(exchange, fs, 8, 0)

const rename2Flags = offsetOf(rename2In, "flags")

export const rename2: Handler = (exchange, fs) =>
  renameFrom(exchange, fs, 16, exchange.u32(rename2Flags))
