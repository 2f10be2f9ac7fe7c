import type { ByteString } from "../bytes/index.ts"
import { payloadAt, writeU64 } from "./encode.ts"
import type { Exchange, Handler } from "./exchange.ts"
import type { FileSystem } from "./filesystem.ts"
import {
  errno,
  getxattrIn,
  inHeaderSize,
  offsetOf,
  setxattrAclKillSgid,
  setxattrIn,
} from "./wire.ts"

const namespaces = ["user.", "trusted.", "security."]
const aclPrefix = "system.posix_acl_"

/** 0, or why no filesystem of ours has an xattr of that name, as ext4 would say it. Names may hold slashes. */
function refuse(fs: FileSystem, name: ByteString | undefined): number {
  if (name === undefined || name.length === 0) return errno.EINVAL
  if (name.length > 255) return errno.ERANGE
  // Without POSIX_ACL nobody would enforce a stored ACL (measured), so there are none.
  if (name.startsWith(aclPrefix)) return fs.options.posixAcl ? 0 : errno.EOPNOTSUPP
  const prefix = namespaces.find((known) => name.startsWith(known))
  if (prefix === undefined) return errno.EOPNOTSUPP
  return name.length === prefix.length ? errno.EINVAL : 0
}

const setSize = offsetOf(setxattrIn, "size")
const setFlags = offsetOf(setxattrIn, "flags")
const setAclFlags = offsetOf(setxattrIn, "setxattrFlags")

export const setxattr: Handler = (exchange, fs) => {
  const end = exchange.endOfString(16)
  if (end < 0) return errno.EINVAL
  const name = exchange.string(16, end)
  const bad = refuse(fs, name)
  if (bad !== 0) return bad
  const size = exchange.u32(setSize)
  const from = inHeaderSize + end + 1
  if (from + size > exchange.size) return errno.EINVAL
  const value = exchange.input.subarray(from, from + size)
  const killSgid = (exchange.u32(setAclFlags) & setxattrAclKillSgid) !== 0
  return fs.setxattr(exchange.inode, name, value, exchange.u32(setFlags), killSgid)
}

const getSize = offsetOf(getxattrIn, "size")

/** A caller that asks with size 0 wants to know the size; one with too little room gets ERANGE. */
function sized(exchange: Exchange, size: number): number | undefined {
  const room = exchange.u32(getSize)
  if (room === 0) {
    writeU64(exchange.reply.words, payloadAt, size)
    return 8
  }
  return size > Math.min(room, exchange.room) ? errno.ERANGE : undefined
}

export const getxattr: Handler = (exchange, fs) => {
  const name = exchange.lastString(8)
  const bad = refuse(fs, name)
  if (bad !== 0 || name === undefined) return bad
  const value = fs.getxattr(exchange.inode, name)
  if (typeof value === "number") return value
  const answered = sized(exchange, value.length)
  if (answered !== undefined) return answered
  exchange.reply.bytes.set(value, payloadAt)
  return value.length
}

export const listxattr: Handler = (exchange, fs) => {
  const names = fs.listxattr(exchange.inode)
  if (typeof names === "number") return names
  // `trusted.` is for CAP_SYS_ADMIN; the kernel guards the values, but leaves the list to us.
  const shown = exchange.fillCaller(0).uid === 0 ? names : names.filter(isPublic)
  const text = shown.map((name) => `${name}\0`).join("")
  const answered = sized(exchange, text.length)
  if (answered !== undefined) return answered
  return exchange.reply.bytes.write(text, payloadAt, "latin1")
}

export const removexattr: Handler = (exchange, fs) => {
  const name = exchange.lastString(0)
  const bad = refuse(fs, name)
  return bad !== 0 || name === undefined ? bad : fs.removexattr(exchange.inode, name)
}

function isPublic(name: ByteString): boolean {
  return !name.startsWith("trusted.")
}
