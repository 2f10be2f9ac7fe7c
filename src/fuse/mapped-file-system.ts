// Hot path where a container has a user namespace: two table look-ups for each file's attributes, and nothing else.
import type { ByteString } from "../bytes/index.ts"
import type {
  AttributeChange,
  Attributes,
  Caller,
  Completion,
  EmitEntry,
  FileSystem,
  FileSystemOptions,
  FileSystemStatus,
} from "./filesystem.ts"
import { type IdMaps, insideId, nobodysId, outsideId } from "./id-maps.ts"
import {
  aclInside,
  aclOutside,
  capabilityInside,
  capabilityName,
  capabilityOutside,
  isAcl,
} from "./mapped-xattrs.ts"

const EINVAL = -22
const EOVERFLOW = -75

/**
 * A filesystem whose ids are those in a container, as it looks from outside, where the mount is made. So what is stored
 * does not depend on the mapping. An owner who is not in the mapping is nobody; a caller who is not may make nothing.
 */
export class MappedFileSystem implements FileSystem {
  readonly options: FileSystemOptions
  readonly prefetch: NonNullable<FileSystem["prefetch"]>
  readonly #fs: FileSystem
  readonly #maps: IdMaps
  readonly #caller: Caller = { uid: 0, gid: 0, pid: 0, umask: 0 }

  constructor(fs: FileSystem, maps: IdMaps) {
    this.#fs = fs
    this.#maps = maps
    this.options = fs.options
    this.prefetch = (inode, offset, size) => fs.prefetch?.(inode, offset, size)
  }

  #outside(result: number, out: Attributes): number {
    if (result < 0) return result
    out.uid = outsideId(this.#maps.uids, out.uid) ?? nobodysId
    out.gid = outsideId(this.#maps.gids, out.gid) ?? nobodysId
    return result
  }

  /** Undefined: nobody of the container. */
  #inside(caller: Caller): Caller | undefined {
    const uid = insideId(this.#maps.uids, caller.uid)
    const gid = insideId(this.#maps.gids, caller.gid)
    if (uid === undefined || gid === undefined) return undefined
    return Object.assign(this.#caller, caller, { uid, gid })
  }

  lookup(parent: number, name: ByteString, out: Attributes): number {
    return this.#outside(this.#fs.lookup(parent, name, out), out)
  }

  forget(inode: number): void {
    this.#fs.forget(inode)
  }

  getattr(inode: number, out: Attributes): number {
    return this.#outside(this.#fs.getattr(inode, out), out)
  }

  setattr(inode: number, change: AttributeChange, out: Attributes): number {
    const uid = change.uid === undefined ? undefined : insideId(this.#maps.uids, change.uid)
    const gid = change.gid === undefined ? undefined : insideId(this.#maps.gids, change.gid)
    const isLost = uid === undefined && change.uid !== undefined
    if (isLost || (gid === undefined && change.gid !== undefined)) return EINVAL
    return this.#outside(this.#fs.setattr(inode, { ...change, uid, gid }, out), out)
  }

  readlink(inode: number): ByteString | number {
    return this.#fs.readlink(inode)
  }

  mknod(
    parent: number,
    name: ByteString,
    mode: number,
    rdev: number,
    caller: Caller,
    out: Attributes,
  ): number {
    const by = this.#inside(caller)
    if (by === undefined) return EOVERFLOW
    return this.#outside(this.#fs.mknod(parent, name, mode, rdev, by, out), out)
  }

  mkdir(parent: number, name: ByteString, mode: number, caller: Caller, out: Attributes): number {
    const by = this.#inside(caller)
    if (by === undefined) return EOVERFLOW
    return this.#outside(this.#fs.mkdir(parent, name, mode, by, out), out)
  }

  symlink(
    parent: number,
    name: ByteString,
    target: ByteString,
    caller: Caller,
    out: Attributes,
  ): number {
    const by = this.#inside(caller)
    if (by === undefined) return EOVERFLOW
    return this.#outside(this.#fs.symlink(parent, name, target, by, out), out)
  }

  tmpfile(parent: number, mode: number, caller: Caller, out: Attributes): number {
    const by = this.#inside(caller)
    if (by === undefined) return EOVERFLOW
    return this.#outside(this.#fs.tmpfile(parent, mode, by, out), out)
  }

  link(inode: number, parent: number, name: ByteString, out: Attributes): number {
    return this.#outside(this.#fs.link(inode, parent, name, out), out)
  }

  unlink(parent: number, name: ByteString): number {
    return this.#fs.unlink(parent, name)
  }

  rmdir(parent: number, name: ByteString): number {
    return this.#fs.rmdir(parent, name)
  }

  rename(
    parent: number,
    name: ByteString,
    newParent: number,
    newName: ByteString,
    flags: number,
  ): number {
    return this.#fs.rename(parent, name, newParent, newName, flags)
  }

  read(inode: number, offset: number, size: number, target: Buffer, at: number): number {
    return this.#fs.read(inode, offset, size, target, at)
  }

  write(
    inode: number,
    offset: number,
    source: Buffer,
    at: number,
    size: number,
    killPriv: boolean,
  ): number {
    return this.#fs.write(inode, offset, source, at, size, killPriv)
  }

  fallocate(inode: number, offset: number, size: number, mode: number): number {
    return this.#fs.fallocate(inode, offset, size, mode)
  }

  readdir(inode: number, cookie: number, emit: EmitEntry): number {
    return this.#fs.readdir(inode, cookie, (name, entry, type, next, fill) =>
      emit(name, entry, type, next, (out) => {
        fill(out)
        this.#outside(0, out)
      }),
    )
  }

  getxattr(inode: number, name: ByteString): Uint8Array | number {
    const value = this.#fs.getxattr(inode, name)
    if (typeof value === "number") return value
    if (name === capabilityName) return capabilityOutside(value, this.#maps)
    return isAcl(name) ? aclOutside(value, this.#maps) : value
  }

  setxattr(
    inode: number,
    name: ByteString,
    value: Uint8Array,
    flags: number,
    killSgid: boolean,
  ): number {
    const stored = this.#stored(name, value)
    if (typeof stored === "number") return stored
    return this.#fs.setxattr(inode, name, stored, flags, killSgid)
  }

  #stored(name: ByteString, value: Uint8Array): Uint8Array | number {
    if (name === capabilityName) return capabilityInside(value, this.#maps)
    return isAcl(name) ? aclInside(value, this.#maps) : value
  }

  listxattr(inode: number): readonly ByteString[] | number {
    return this.#fs.listxattr(inode)
  }

  removexattr(inode: number, name: ByteString): number {
    return this.#fs.removexattr(inode, name)
  }

  statfs(out: FileSystemStatus): number {
    return this.#fs.statfs(out)
  }

  fsync(inode: number, dataOnly: boolean, completion: Completion): number | "pending" {
    return this.#fs.fsync(inode, dataOnly, completion)
  }

  tick(nowMs: number): number {
    return this.#fs.tick(nowMs)
  }

  destroy(): void {
    this.#fs.destroy()
  }
}
