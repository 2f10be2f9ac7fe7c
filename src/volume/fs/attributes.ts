import type { ByteString } from "../../bytes/index.ts"
import {
  type AttributeChange,
  aclAccessName,
  aclAfterChmod,
  aclDefaultName,
  modeOfAcl,
} from "../../fuse/index.ts"
import type { Core } from "./core.ts"
import { e } from "./errno.ts"
import { type Inode, inodeFlags } from "./inode.ts"
import { fileTypeMask, maxFileSize, maxNameSize } from "./keys.ts"
import { maxXattrSize } from "./xattrs.ts"

const setuid = 0o4000
const setgid = 0o2000
const groupExecute = 0o010
const capabilityName = "security.capability" as ByteString
const xattrCreate = 1
const xattrReplace = 2
const maxListSize = 65536

/** What is known of an inode beside its contents and names. */
export class AttributeEditor {
  readonly #core: Core

  constructor(core: Core) {
    this.#core = core
  }

  setattr(inode: Inode, change: AttributeChange): number {
    if (change.size !== undefined) {
      if (inode.isDirectory) return e.EISDIR
      if (!inode.isRegular) return e.EINVAL
      if (change.size > maxFileSize) return e.EFBIG
    }
    const { clock } = this.#core
    clock.now()
    if (change.mode !== undefined) this.#chmod(inode, change.mode)
    if (change.uid !== undefined || change.gid !== undefined) this.#chown(inode, change)
    if (change.size !== undefined) {
      this.resize(inode, change.size)
      inode.setMtime(clock)
    }
    if (change.killPriv) this.killPrivileges(inode)
    if (change.atime !== undefined) inode.setAtime(change.atime === "now" ? clock : change.atime)
    if (change.mtime !== undefined) inode.setMtime(change.mtime === "now" ? clock : change.mtime)
    inode.setCtime(change.ctime ?? clock)
    this.#changed(inode)
    return 0
  }

  #changed(inode: Inode): void {
    this.#core.inodes.changed(inode)
    this.#core.touch()
  }

  #chmod(inode: Inode, mode: number): void {
    inode.mode = (inode.mode & fileTypeMask) | (mode & 0o7777)
    if ((inode.flags & inodeFlags.accessAcl) === 0) return
    const acl = this.#core.xattrs.get(inode.id, aclAccessName as ByteString)
    const changed = acl === undefined ? undefined : aclAfterChmod(acl, inode.mode)
    if (changed !== undefined) this.#core.xattrs.set(inode.id, aclAccessName as ByteString, changed)
  }

  #chown(inode: Inode, change: AttributeChange): void {
    inode.uid = change.uid ?? inode.uid
    inode.gid = change.gid ?? inode.gid
    if (inode.isDirectory) return
    this.dropCapability(inode)
    if (change.mode === undefined) this.killPrivileges(inode)
  }

  /** Makes the file longer, with a hole, or shorter. */
  resize(inode: Inode, size: number): void {
    const core = this.#core
    if (size < inode.size) {
      core.data.settleFile(inode.id)
      inode.allocated -= core.catalog.cut(inode.id, size, maxFileSize - size)
    }
    inode.size = size
    this.dropCapability(inode)
  }

  killPrivileges(inode: Inode): void {
    if (inode.isDirectory) return
    inode.mode &= ~setuid
    if ((inode.mode & groupExecute) !== 0) inode.mode &= ~setgid
  }

  dropCapability(inode: Inode): void {
    if ((inode.flags & inodeFlags.capability) === 0) return
    this.#core.xattrs.remove(inode.id, capabilityName)
    inode.flags &= ~inodeFlags.capability
    this.#core.inodes.changed(inode)
  }

  getxattr(inode: Inode, name: ByteString): Uint8Array | number {
    if ((inode.flags & inodeFlags.xattrs) === 0) return e.ENODATA
    return this.#core.xattrs.get(inode.id, name) ?? e.ENODATA
  }

  listxattr(inode: Inode): readonly ByteString[] {
    if ((inode.flags & inodeFlags.xattrs) === 0) return []
    return this.#core.xattrs.names(inode.id)
  }

  setxattr(
    inode: Inode,
    name: ByteString,
    value: Uint8Array,
    flags: number,
    killSgid: boolean,
  ): number {
    if (name.length > maxNameSize) return e.ERANGE
    if (value.length > maxXattrSize) return e.E2BIG
    const names = this.listxattr(inode)
    const exists = names.includes(name)
    if (exists && flags === xattrCreate) return e.EEXIST
    if (!exists && flags === xattrReplace) return e.ENODATA
    if (!exists && listSize(names) + name.length + 1 > maxListSize) return e.ENOSPC
    if (name === aclAccessName) {
      const found = modeOfAcl(value, inode.mode)
      if (found === undefined) return e.EINVAL
      inode.mode = found.mode
      if (killSgid) inode.mode &= ~setgid
      if (found.minimal) {
        this.#remove(inode, name)
        return this.#touched(inode)
      }
    }
    if (!this.#core.xattrs.set(inode.id, name, value)) return e.ENOSPC
    inode.flags |= inodeFlags.xattrs | flagOf(name)
    return this.#touched(inode)
  }

  #touched(inode: Inode): number {
    inode.setCtime(this.#core.clock.now())
    this.#changed(inode)
    return 0
  }

  #remove(inode: Inode, name: ByteString): boolean {
    if ((inode.flags & inodeFlags.xattrs) === 0) return false
    inode.flags &= ~flagOf(name)
    return this.#core.xattrs.remove(inode.id, name)
  }

  removexattr(inode: Inode, name: ByteString): number {
    return this.#remove(inode, name) ? this.#touched(inode) : e.ENODATA
  }
}

function flagOf(name: ByteString): number {
  switch (name as string) {
    case capabilityName:
      return inodeFlags.capability
    case aclDefaultName:
      return inodeFlags.defaultAcl
    case aclAccessName:
      return inodeFlags.accessAcl
    default:
      return 0
  }
}

function listSize(names: readonly ByteString[]): number {
  return names.reduce((size, name) => size + name.length + 1, 0)
}
