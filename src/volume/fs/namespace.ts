// Hot path: see page.ts.
import type { ByteString } from "../../bytes/index.ts"
import {
  type Attributes,
  aclAccessName,
  aclDefaultName,
  aclForNewFile,
  type Caller,
  type EmitEntry,
} from "../../fuse/index.ts"
import type { Core } from "./core.ts"
import { e } from "./errno.ts"
import { type Inode, inodeFlags } from "./inode.ts"
import {
  characterType,
  directoryType,
  fileTypeMask,
  maxLinks,
  maxNameSize,
  regularType,
  symlinkType,
} from "./keys.ts"
import { firstSequence } from "./names.ts"
import { putTarget, targetOf } from "./targets.ts"

const setgid = 0o2000
const noReplace = 1
const exchange = 2
const whiteout = 4

/** Names and what they stand for. Every verb answers 0 or a negative errno, and changes nothing when it fails. */
export class Namespace {
  readonly #core: Core

  constructor(core: Core) {
    this.#core = core
  }

  lookup(parent: number, name: ByteString, out: Attributes): number {
    const { names, inodes } = this.#core
    if (name.length > maxNameSize) return e.ENAMETOOLONG
    if (!names.find(parent, name)) return e.ENOENT
    const inode = inodes.look(names.inode)
    if (inode === undefined) throw new Error("an entry without an inode")
    this.fill(inode, out)
    return 0
  }

  fill(inode: Inode, out: Attributes): void {
    inode.fill(out)
    if (inode.isRegular)
      out.blocks = Math.ceil((inode.allocated + this.#core.data.pending(inode.id)) / 512)
  }

  /** The directory that is to get a name, or why it cannot. */
  #target(parent: number, name: ByteString): Inode | number {
    if (name.length > maxNameSize) return e.ENAMETOOLONG
    const directory = this.#core.inodes.get(parent)
    if (directory === undefined || directory.linkCount === 0) return e.ENOENT
    if (!directory.isDirectory) return e.ENOTDIR
    return this.#core.names.find(parent, name) ? e.EEXIST : directory
  }

  #touchDirectory(directory: Inode): void {
    const { clock, inodes } = this.#core
    clock.now()
    directory.setMtime(clock)
    directory.setCtime(clock)
    inodes.changed(directory)
  }

  #touchInode(inode: Inode): void {
    inode.setCtime(this.#core.clock.now())
    this.#core.inodes.changed(inode)
  }

  // Owner, group, mode and ACLs as the directory and the caller say.
  #create(directory: Inode, mode: number, caller: Caller): Inode {
    const core = this.#core
    const type = mode & fileTypeMask
    const inherits = type !== symlinkType && (directory.flags & inodeFlags.defaultAcl) !== 0
    const defaultAcl = inherits
      ? core.xattrs.get(directory.id, aclDefaultName as ByteString)
      : undefined
    const found =
      type === symlinkType
        ? { mode, access: undefined }
        : aclForNewFile(defaultAcl, mode, caller.umask)
    const inode = core.create(found.mode)
    inode.uid = caller.uid
    inode.gid = caller.gid
    if ((directory.mode & setgid) !== 0) {
      inode.gid = directory.gid
      if (type === directoryType) inode.mode |= setgid
    }
    if (found.access !== undefined) {
      core.xattrs.set(inode.id, aclAccessName as ByteString, found.access)
      inode.flags |= inodeFlags.xattrs | inodeFlags.accessAcl
    }
    if (defaultAcl !== undefined && type === directoryType) {
      core.xattrs.set(inode.id, aclDefaultName as ByteString, defaultAcl)
      inode.flags |= inodeFlags.xattrs | inodeFlags.defaultAcl
    }
    return inode
  }

  #enter(directory: Inode, name: ByteString, inode: Inode, out: Attributes): number {
    const type = (inode.mode & fileTypeMask) >> 12
    if (!this.#core.names.add(directory, name, inode.id, type))
      throw new Error("too many names share a hash")
    this.#touchDirectory(directory)
    this.#core.touch()
    this.fill(inode, out)
    return 0
  }

  readdir(id: number, cookie: number, emit: EmitEntry): number {
    const { inodes, names } = this.#core
    const directory = inodes.get(id)
    if (directory === undefined) return e.ENOENT
    if (!directory.isDirectory) return e.ENOTDIR
    let current = id
    const fill = (out: Attributes): void => {
      const inode = inodes.look(current)
      if (inode === undefined) throw new Error("an entry without an inode")
      this.fill(inode, out)
    }
    const type = directoryType >> 12
    if (cookie < 1 && !emit("." as ByteString, id, type, 1, fill)) return 0
    current = directory.extra
    if (cookie < 2 && !emit(".." as ByteString, current, type, 2, fill)) return 0
    let sequence = Math.max(cookie, firstSequence - 1)
    for (;;) {
      const name = names.after(id, sequence)
      if (name === undefined) return 0
      sequence = names.sequence
      current = names.inode
      if (!emit(name, current, names.type, sequence, fill)) return 0
    }
  }

  mknod(
    parent: number,
    name: ByteString,
    mode: number,
    rdev: number,
    caller: Caller,
    out: Attributes,
  ): number {
    const directory = this.#target(parent, name)
    if (typeof directory === "number") return directory
    const inode = this.#create(directory, mode, caller)
    inode.linkCount = 1
    inode.extra = rdev
    return this.#enter(directory, name, inode, out)
  }

  mkdir(parent: number, name: ByteString, mode: number, caller: Caller, out: Attributes): number {
    const directory = this.#target(parent, name)
    if (typeof directory === "number") return directory
    const inode = this.#create(directory, directoryType | (mode & 0o7777), caller)
    inode.linkCount = 2
    inode.allocated = firstSequence
    inode.extra = parent
    directory.linkCount += 1
    return this.#enter(directory, name, inode, out)
  }

  symlink(
    parent: number,
    name: ByteString,
    target: ByteString,
    caller: Caller,
    out: Attributes,
  ): number {
    if (target.length > 4095) return e.ENAMETOOLONG
    const directory = this.#target(parent, name)
    if (typeof directory === "number") return directory
    const inode = this.#create(directory, symlinkType | 0o777, caller)
    inode.linkCount = 1
    inode.size = target.length
    putTarget(this.#core.catalog, inode.id, target)
    return this.#enter(directory, name, inode, out)
  }

  readlink(id: number): ByteString | number {
    return targetOf(this.#core.catalog, id) ?? e.EINVAL
  }

  tmpfile(parent: number, mode: number, caller: Caller, out: Attributes): number {
    const directory = this.#core.inodes.get(parent)
    if (directory === undefined || directory.linkCount === 0) return e.ENOENT
    const inode = this.#create(directory, regularType | (mode & 0o7777), caller)
    this.#core.orphans.add(inode.id)
    this.#core.touch()
    this.fill(inode, out)
    return 0
  }

  link(id: number, parent: number, name: ByteString, out: Attributes): number {
    const core = this.#core
    const inode = core.inodes.get(id)
    if (inode === undefined) return e.ENOENT
    if (inode.isDirectory) return e.EPERM
    if (inode.linkCount >= maxLinks) return e.EMLINK
    const directory = this.#target(parent, name)
    if (typeof directory === "number") return directory
    if (inode.linkCount === 0) core.adopt(inode)
    inode.linkCount += 1
    this.#touchInode(inode)
    return this.#enter(directory, name, inode, out)
  }

  unlink(parent: number, name: ByteString): number {
    const { inodes, names } = this.#core
    if (!names.find(parent, name)) return e.ENOENT
    const inode = inodes.get(names.inode)
    const directory = inodes.get(parent)
    if (inode === undefined || directory === undefined) throw new Error("an entry without an inode")
    if (inode.isDirectory) return e.EISDIR
    names.find(parent, name)
    names.remove(directory, name)
    this.#touchDirectory(directory)
    this.#unlinked(inode)
    return 0
  }

  rmdir(parent: number, name: ByteString): number {
    const { inodes, names } = this.#core
    if (!names.find(parent, name)) return e.ENOENT
    const inode = inodes.get(names.inode)
    const directory = inodes.get(parent)
    if (inode === undefined || directory === undefined) throw new Error("an entry without an inode")
    if (!inode.isDirectory) return e.ENOTDIR
    if (inode.size !== 0) return e.ENOTEMPTY
    names.remove(directory, name)
    directory.linkCount -= 1
    this.#touchDirectory(directory)
    this.#unlinked(inode)
    return 0
  }

  // One name less; without any the inode waits for the kernel to let go.
  #unlinked(inode: Inode): void {
    inode.linkCount = inode.isDirectory ? 0 : inode.linkCount - 1
    if (inode.linkCount === 0) this.#core.orphans.add(inode.id)
    this.#touchInode(inode)
    this.#core.touch()
  }

  #find(parent: number, name: ByteString): Inode | undefined {
    const { inodes, names } = this.#core
    return names.find(parent, name) ? inodes.get(names.inode) : undefined
  }

  rename(
    parent: number,
    name: ByteString,
    newParent: number,
    newName: ByteString,
    flags: number,
  ): number {
    const { inodes } = this.#core
    const from = inodes.get(parent)
    const to = inodes.get(newParent)
    if (from === undefined || to === undefined || to.linkCount === 0) return e.ENOENT
    const moved = this.#find(parent, name)
    if (moved === undefined) return e.ENOENT
    if (moved.isDirectory && this.#isWithin(newParent, moved.id)) return e.EINVAL
    const target = this.#find(newParent, newName)
    const refused =
      newName.length > maxNameSize ? e.ENAMETOOLONG : renameError(moved, target, flags)
    if (refused !== 0) return refused
    if (target === moved) return 0
    if ((flags & exchange) !== 0 && target !== undefined)
      return this.#exchange(from, name, moved, to, newName, target)
    this.#move(from, name, moved, to, newName, target)
    if ((flags & whiteout) !== 0) this.#leaveWhiteout(from, name)
    return 0
  }

  // Is the directory `id` the other one, or below it?
  #isWithin(id: number, ancestor: number): boolean {
    let at = id
    while (at !== ancestor) {
      const directory = this.#core.inodes.get(at)
      if (directory === undefined || directory.extra === at) return false
      at = directory.extra
    }
    return true
  }

  #move(
    from: Inode,
    name: ByteString,
    moved: Inode,
    to: Inode,
    newName: ByteString,
    target: Inode | undefined,
  ): void {
    const { names } = this.#core
    const type = (moved.mode & fileTypeMask) >> 12
    names.find(from.id, name)
    names.remove(from, name)
    if (target === undefined) {
      if (!names.add(to, newName, moved.id, type)) throw new Error("too many names share a hash")
    } else {
      names.find(to.id, newName)
      names.replace(to, newName, moved.id, type)
      if (target.isDirectory) to.linkCount -= 1
      this.#unlinked(target)
    }
    this.#setParent(moved, from, to)
    this.#moved(from, to, moved)
  }

  #setParent(moved: Inode, from: Inode, to: Inode): void {
    if (!moved.isDirectory || from === to) return
    moved.extra = to.id
    from.linkCount -= 1
    to.linkCount += 1
  }

  #moved(from: Inode, to: Inode, moved: Inode): void {
    this.#touchDirectory(from)
    this.#touchDirectory(to)
    this.#touchInode(moved)
    this.#core.touch()
  }

  #exchange(
    from: Inode,
    name: ByteString,
    moved: Inode,
    to: Inode,
    newName: ByteString,
    target: Inode,
  ): number {
    if (target.isDirectory && this.#isWithin(from.id, target.id)) return e.EINVAL
    const { names } = this.#core
    names.find(from.id, name)
    names.replace(from, name, target.id, (target.mode & fileTypeMask) >> 12)
    names.find(to.id, newName)
    names.replace(to, newName, moved.id, (moved.mode & fileTypeMask) >> 12)
    this.#setParent(moved, from, to)
    this.#setParent(target, to, from)
    this.#touchInode(target)
    this.#moved(from, to, moved)
    return 0
  }

  #leaveWhiteout(directory: Inode, name: ByteString): void {
    const inode = this.#core.create(characterType)
    inode.linkCount = 1
    if (!this.#core.names.add(directory, name, inode.id, characterType >> 12))
      throw new Error("too many names share a hash")
    this.#core.inodes.changed(directory)
  }
}

function renameError(moved: Inode, target: Inode | undefined, flags: number): number {
  if ((flags & ~(noReplace | exchange | whiteout)) !== 0) return e.EINVAL
  if ((flags & exchange) !== 0) {
    if ((flags & (noReplace | whiteout)) !== 0) return e.EINVAL
    return target === undefined ? e.ENOENT : 0
  }
  if (target === undefined) return 0
  if ((flags & noReplace) !== 0) return e.EEXIST
  if (target === moved) return 0
  if (!moved.isDirectory) return target.isDirectory ? e.EISDIR : 0
  if (!target.isDirectory) return e.ENOTDIR
  return target.size === 0 ? 0 : e.ENOTEMPTY
}
