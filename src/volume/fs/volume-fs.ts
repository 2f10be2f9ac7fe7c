// Hot path: see page.ts.
import { type ByteString, displayName } from "../../bytes/index.ts"
import { CofferError } from "../../errors.ts"
import type {
  AttributeChange,
  Attributes,
  Caller,
  Completion,
  EmitEntry,
  FileSystem,
  FileSystemOptions,
  FileSystemStatus,
} from "../../fuse/index.ts"
import type { FrameStore, Recovery } from "../frame-store.ts"
import { AttributeEditor } from "./attributes.ts"
import { Core, type VolumeOptions } from "./core.ts"
import { frameDataSize } from "./data.ts"
import { e, errnoOf } from "./errno.ts"
import type { Inode } from "./inode.ts"
import { maxFileSize, maxNameSize } from "./keys.ts"
import { Namespace } from "./namespace.ts"
import { pathOfInode } from "./paths.ts"
import { Space } from "./space.ts"

const keepSize = 1
const punchHole = 2
const zeroRange = 16
/** What an entry of a directory may need. */
const entryRoom = 8192
const maxDamaged = 1000

/**
 * The filesystem of a volume. Verbs as `FileSystem` promises them; a frame that does not verify is a thrown CofferError for
 * what needs it. A fault in the middle of a change ends all changes (EROFS): only whole sets of changes may reach the disk.
 */
export class VolumeFileSystem implements FileSystem {
  readonly options: FileSystemOptions
  readonly core: Core
  readonly #namespace: Namespace
  readonly #attributes: AttributeEditor
  readonly #space: Space
  /** Paths of inodes with damage, for reports. */
  readonly #damaged = new Map<number, string>()
  #destroyed = false

  constructor(store: FrameStore, recovery: Recovery, options: VolumeOptions = {}) {
    this.core = new Core(store, recovery, options)
    this.#namespace = new Namespace(this.core)
    this.#attributes = new AttributeEditor(this.core)
    this.#space = new Space(store)
    this.options = {
      readOnly: this.core.readOnly,
      cacheSeconds: 86_400,
      posixAcl: true,
      maxFileSize,
    }
  }

  // An operation that changes something: whole, or the volume takes no more changes.
  #change(operation: () => number): number {
    const { core } = this
    if (core.readOnly || core.failure !== undefined) return e.EROFS
    try {
      const result = operation()
      core.settle()
      return result
    } catch (error) {
      core.fail(error)
      throw error
    }
  }

  // Also when nothing can be changed any more, what is there can be read.
  #look<T>(operation: () => T): T {
    const result = operation()
    if (this.core.failure === undefined) this.core.trim()
    return result
  }

  // What makes the index grow is refused early, so that the reserve is left for what makes it shrink.
  #admits(size: number): boolean {
    const { core } = this
    if (core.readOnly || core.failure !== undefined) return true
    return this.#space.admits(size, core.data.appended) || core.makeRoom()
  }

  // Each change takes some bytes of the log: even what gives space back must not take the last of them.
  #bears(use: "some" | "all"): boolean {
    const { core } = this
    if (core.readOnly || core.failure !== undefined) return true
    const admits = () => this.#space.admits(0, core.data.appended, use)
    return admits() || (core.compaction.reclaim() && admits())
  }

  lookup(parent: number, name: ByteString, out: Attributes): number {
    return this.#look(() => this.#namespace.lookup(parent, name, out))
  }

  forget(inode: number): void {
    const { core } = this
    if (!core.orphans.has(inode) || core.readOnly) return
    this.#change(() => {
      const found = core.inodes.get(inode)
      if (found !== undefined) core.reclaim(found)
      return 0
    })
  }

  getattr(inode: number, out: Attributes): number {
    return this.#look(() => {
      const found = this.core.inodes.look(inode)
      if (found === undefined) return e.ENOENT
      this.#namespace.fill(found, out)
      return 0
    })
  }

  setattr(inode: number, change: AttributeChange, out: Attributes): number {
    if (!this.#bears(change.size === undefined ? "some" : "all")) return e.ENOSPC
    return this.#change(() => {
      const found = this.core.inodes.get(inode)
      if (found === undefined) return e.ENOENT
      const result = this.#attributes.setattr(found, change)
      if (result === 0) this.#namespace.fill(found, out)
      return result
    })
  }

  readlink(inode: number): ByteString | number {
    return this.#look(() => this.#namespace.readlink(inode))
  }

  mknod(
    parent: number,
    name: ByteString,
    mode: number,
    rdev: number,
    caller: Caller,
    out: Attributes,
  ): number {
    if (!this.#admits(entryRoom)) return e.ENOSPC
    return this.#change(() => this.#namespace.mknod(parent, name, mode, rdev, caller, out))
  }

  mkdir(parent: number, name: ByteString, mode: number, caller: Caller, out: Attributes): number {
    if (!this.#admits(entryRoom)) return e.ENOSPC
    return this.#change(() => this.#namespace.mkdir(parent, name, mode, caller, out))
  }

  symlink(
    parent: number,
    name: ByteString,
    target: ByteString,
    caller: Caller,
    out: Attributes,
  ): number {
    if (!this.#admits(entryRoom)) return e.ENOSPC
    return this.#change(() => this.#namespace.symlink(parent, name, target, caller, out))
  }

  tmpfile(parent: number, mode: number, caller: Caller, out: Attributes): number {
    if (!this.#admits(entryRoom)) return e.ENOSPC
    return this.#change(() => this.#namespace.tmpfile(parent, mode, caller, out))
  }

  link(inode: number, parent: number, name: ByteString, out: Attributes): number {
    if (!this.#admits(entryRoom)) return e.ENOSPC
    return this.#change(() => this.#namespace.link(inode, parent, name, out))
  }

  unlink(parent: number, name: ByteString): number {
    if (!this.#bears("all")) return e.ENOSPC
    return this.#change(() => this.#namespace.unlink(parent, name))
  }

  rmdir(parent: number, name: ByteString): number {
    if (!this.#bears("all")) return e.ENOSPC
    return this.#change(() => this.#namespace.rmdir(parent, name))
  }

  rename(
    parent: number,
    name: ByteString,
    newParent: number,
    newName: ByteString,
    flags: number,
  ): number {
    if (!this.#bears("some")) return e.ENOSPC
    return this.#change(() => this.#namespace.rename(parent, name, newParent, newName, flags))
  }

  read(inode: number, offset: number, size: number, target: Buffer, at: number): number {
    return this.#look(() => {
      const found = this.core.inodes.look(inode)
      if (found === undefined) return e.ENOENT
      const count = Math.max(0, Math.min(size, found.size - offset))
      if (count > 0) this.#readData(inode, offset, count, target, at)
      return count
    })
  }

  #readData(inode: number, offset: number, size: number, target: Buffer, at: number): void {
    try {
      this.core.data.read(inode, offset, size, target, at)
    } catch (error) {
      throw error instanceof CofferError ? this.#damage(error, inode, offset, size) : error
    }
  }

  // What a report needs: which file, and which range of it.
  #damage(error: CofferError, inode: number, offset: number, size: number): CofferError {
    const known = this.#damaged.get(inode)
    const path = known ?? this.#pathOf(inode)
    if (this.#damaged.size < maxDamaged) this.#damaged.set(inode, path)
    const { code, message, hint, reason } = error
    return new CofferError(code, `${path}: ${size} bytes at ${offset}: ${message}`, {
      ...(hint === undefined ? {} : { hint }),
      ...(reason === undefined ? {} : { reason }),
      facts: { ...error.facts, path, inode, fileOffset: offset, fileSize: size },
      cause: error,
    })
  }

  #pathOf(inode: number): string {
    try {
      const path = pathOfInode(this.core, inode)
      return path === undefined ? `inode ${inode}` : displayName(path)
    } catch {
      return `inode ${inode}` // the index is damaged too
    }
  }

  prefetch(inode: number, offset: number, size: number): void {
    this.core.data.prefetch(inode, offset, size)
  }

  write(
    inode: number,
    offset: number,
    source: Buffer,
    at: number,
    size: number,
    killPriv: boolean,
  ): number {
    const end = offset + size
    if (end > maxFileSize) return e.EFBIG
    return this.#change(() => {
      const { core } = this
      const found = core.inodes.get(inode)
      if (found === undefined) return e.ENOENT
      if (!this.#writeData(found, offset, source, at, size)) return e.ENOSPC
      if (end > found.size) found.size = end
      if (killPriv) this.#attributes.killPrivileges(found)
      this.#attributes.dropCapability(found)
      core.clock.now()
      found.setMtime(core.clock)
      found.setCtime(core.clock)
      core.inodes.changed(found)
      core.touch()
      return size
    })
  }

  #writeData(inode: Inode, offset: number, source: Buffer, at: number, size: number): boolean {
    const { core } = this
    // A small piece waits in memory, and must have room when it leaves it.
    if (size < frameDataSize && !this.#admits(size)) return false
    for (let attempt = 0; ; attempt += 1) {
      try {
        core.data.write(inode.id, offset, source, at, size)
        return true
      } catch (error) {
        if (errnoOf(error) !== e.ENOSPC) throw error
      }
      // A part may have been written: nothing of it may stand behind the file's end.
      if (offset + size > inode.size) {
        core.data.settleFile(inode.id)
        inode.allocated -= core.catalog.cut(inode.id, inode.size, maxFileSize - inode.size)
        core.inodes.changed(inode)
        core.touch()
      }
      if (attempt === 4 || !core.compaction.reclaim()) return false
    }
  }

  fallocate(inode: number, offset: number, size: number, mode: number): number {
    if (size <= 0 || offset < 0) return e.EINVAL
    const kind = mode & ~keepSize
    const keep = (mode & keepSize) !== 0
    if (kind !== 0 && kind !== punchHole && kind !== zeroRange) return e.EOPNOTSUPP
    if (kind === punchHole && !keep) return e.EOPNOTSUPP
    if (offset + size > maxFileSize) return e.EFBIG
    if (!(kind === 0 ? this.#admits(size) : this.#bears("all"))) return e.ENOSPC
    return this.#change(() => {
      const { core } = this
      const found = core.inodes.get(inode)
      if (found === undefined) return e.ENOENT
      if (!found.isRegular) return e.EOPNOTSUPP
      if (kind !== 0) {
        core.data.settleFile(inode)
        found.allocated -= core.catalog.cut(inode, offset, size)
      }
      if (!keep) found.size = Math.max(found.size, offset + size)
      this.#attributes.dropCapability(found)
      core.clock.now()
      found.setMtime(core.clock)
      found.setCtime(core.clock)
      core.inodes.changed(found)
      core.touch()
      return 0
    })
  }

  access(_inode: number, mask: number): number {
    const writes = 2
    return (mask & writes) !== 0 && this.core.readOnly ? e.EROFS : 0
  }

  readdir(inode: number, cookie: number, emit: EmitEntry): number {
    return this.#look(() => this.#namespace.readdir(inode, cookie, emit))
  }

  getxattr(inode: number, name: ByteString): Uint8Array | number {
    return this.#look(() => {
      const found = this.core.inodes.get(inode)
      return found === undefined ? e.ENOENT : this.#attributes.getxattr(found, name)
    })
  }

  setxattr(
    inode: number,
    name: ByteString,
    value: Uint8Array,
    flags: number,
    killSgid: boolean,
  ): number {
    if (!this.#admits(entryRoom + value.length)) return e.ENOSPC
    return this.#change(() => {
      const found = this.core.inodes.get(inode)
      if (found === undefined) return e.ENOENT
      return this.#attributes.setxattr(found, name, value, flags, killSgid)
    })
  }

  listxattr(inode: number): readonly ByteString[] | number {
    return this.#look(() => {
      const found = this.core.inodes.get(inode)
      return found === undefined ? e.ENOENT : this.#attributes.listxattr(found)
    })
  }

  removexattr(inode: number, name: ByteString): number {
    if (!this.#bears("all")) return e.ENOSPC
    return this.#change(() => {
      const found = this.core.inodes.get(inode)
      return found === undefined ? e.ENOENT : this.#attributes.removexattr(found, name)
    })
  }

  statfs(out: FileSystemStatus): number {
    return this.#look(() => {
      const { core } = this
      const { free, total } = this.#space.status(core.data.appended)
      const blockSize = 4096
      const blocks = Math.floor(free / blockSize)
      out.blockSize = blockSize
      out.blocks = Math.floor(total / blockSize)
      out.blocksFree = blocks
      out.blocksAvailable = blocks
      out.files = core.inodeCount + blocks
      out.filesFree = blocks
      out.nameMax = maxNameSize
      return 0
    })
  }

  fsync(_inode: number, _dataOnly: boolean, _completion: Completion): number {
    const { core } = this
    if (core.readOnly) return 0
    if (core.failure !== undefined) return e.EIO
    try {
      core.commit(true)
      return 0
    } catch (error) {
      return errnoOf(error)
    }
  }

  tick(nowMs: number): number {
    try {
      return Math.min(this.core.tick(nowMs), this.core.store.tick(nowMs))
    } catch (error) {
      this.core.fail(error)
      return 10_000
    }
  }

  /** Moves everything that is live together, and what is under an older key; gives all else back. */
  compact(onStep: (size: number, live: number) => void): void {
    this.#change(() => {
      this.core.compaction.runAll(onStep)
      return 0
    })
  }

  /** Commits, once. Throws what could not be committed now, or since when nothing could be changed any more. */
  destroy(): void {
    if (this.#destroyed) return
    this.#destroyed = true
    this.core.close()
    if (this.core.failure !== undefined) throw this.core.failure
  }
}
