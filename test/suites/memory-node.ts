/** The nodes of the filesystem in memory, and what is done to one alone. */
import type { ByteString } from "../../src/bytes/index.ts"
import {
  type AttributeChange,
  type Attributes,
  aclAccessName,
  aclAfterChmod,
  type Time,
} from "../../src/fuse/index.ts"

export const chunkSize = 65536
export const e = {
  ENOENT: -2,
  EEXIST: -17,
  EXDEV: -18,
  ENOTDIR: -20,
  EISDIR: -21,
  EINVAL: -22,
  ENOSPC: -28,
  EMLINK: -31,
  EIO: -5,
  ENOTEMPTY: -39,
  ENODATA: -61,
  EOPNOTSUPP: -95,
}
export const typeMask = 0o170000
export const directoryType = 0o040000
export const regularType = 0o100000
export const symlinkType = 0o120000

interface Child {
  readonly node: Node
  readonly cookie: number
}

export interface Node {
  readonly inode: number
  mode: number
  uid: number
  gid: number
  rdev: number
  links: number
  size: number
  atime: Time
  mtime: Time
  ctime: Time
  /** Of directories; iterated in the order of the cookies. */
  readonly children: Map<ByteString, Child>
  nextCookie: number
  parent: number
  target: ByteString
  readonly chunks: Map<number, Buffer>
  readonly xattrs: Map<ByteString, Uint8Array>
}

export const capability = "security.capability" as ByteString

export function isType(node: Node, type: number): boolean {
  return (node.mode & typeMask) === type
}

export function now(): Time {
  const ms = performance.timeOrigin + performance.now()
  const seconds = Math.floor(ms / 1000)
  return { seconds, nanoseconds: Math.floor((ms - seconds * 1000) * 1e6) }
}

export function timeOf(change: Time | "now" | undefined, old: Time, at: Time): Time {
  return change === undefined ? old : change === "now" ? at : change
}

export function addChild(directory: Node, name: ByteString, node: Node): void {
  directory.children.set(name, { node, cookie: directory.nextCookie })
  directory.nextCookie += 1
  directory.mtime = directory.ctime = now()
}

export function removeChild(directory: Node, name: ByteString): void {
  directory.children.delete(name)
  directory.mtime = directory.ctime = now()
}

export function unlinked(node: Node): number {
  node.links -= 1
  node.ctime = now()
  return 0
}

export function replaceable(moved: Node, target: Node): number {
  const directory = isType(moved, directoryType)
  if (isType(target, directoryType)) {
    if (!directory) return e.EISDIR
    return target.children.size > 0 ? e.ENOTEMPTY : 0
  }
  return directory ? e.ENOTDIR : 0
}

export function changeMode(node: Node, mode: number): void {
  node.mode = (node.mode & typeMask) | (mode & 0o7777)
  const acl = node.xattrs.get(aclAccessName as ByteString)
  const changed = acl === undefined ? undefined : aclAfterChmod(acl, mode)
  if (changed !== undefined) node.xattrs.set(aclAccessName as ByteString, changed)
}

export function changeOwner(node: Node, change: AttributeChange): void {
  node.uid = change.uid ?? node.uid
  node.gid = change.gid ?? node.gid
  if (isType(node, directoryType)) return
  killPrivileges(node)
  node.xattrs.delete(capability)
}

export function killPrivileges(node: Node): void {
  node.mode &= (node.mode & 0o010) === 0 ? ~0o4000 : ~0o6000
}

export function fill(node: Node, out: Attributes): number {
  out.inode = node.inode
  out.size = node.size
  out.blocks = isType(node, regularType) ? node.chunks.size * (chunkSize / 512) : 0
  out.mode = node.mode
  out.linkCount = node.links
  out.uid = node.uid
  out.gid = node.gid
  out.rdev = node.rdev
  out.blockSize = 4096
  out.atimeSeconds = node.atime.seconds
  out.atimeNanoseconds = node.atime.nanoseconds
  out.mtimeSeconds = node.mtime.seconds
  out.mtimeNanoseconds = node.mtime.nanoseconds
  out.ctimeSeconds = node.ctime.seconds
  out.ctimeNanoseconds = node.ctime.nanoseconds
  return 0
}
