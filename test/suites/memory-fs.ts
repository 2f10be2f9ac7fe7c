/** A filesystem in memory: the model in property tests, and what the loop's tests mount. Plain, not fast. */
import type { ByteString } from "../../src/bytes/index.ts"
import {
  type AttributeChange,
  type Attributes,
  aclAccessName,
  aclDefaultName,
  aclForNewFile,
  type Caller,
  type Completion,
  type EmitEntry,
  type FileSystem,
  type FileSystemOptions,
  type FileSystemStatus,
  modeOfAcl,
  type Time,
} from "../../src/fuse/index.ts"
import {
  addChild,
  capability,
  changeMode,
  changeOwner,
  chunkSize,
  directoryType,
  e,
  fill,
  isType,
  killPrivileges,
  type Node,
  now,
  removeChild,
  replaceable,
  symlinkType,
  timeOf,
  typeMask,
  unlinked,
} from "./memory-node.ts"

const linkMax = 65000
const fallocKeepSize = 1
const fallocPunchHole = 2
const fallocZeroRange = 16

export interface MemoryOptions {
  readonly capacity?: number
  readonly options?: Partial<FileSystemOptions>
}

export class MemoryFileSystem implements FileSystem {
  readonly options: FileSystemOptions
  readonly #nodes = new Map<number, Node>()
  readonly #capacity: number
  #nextInode = 2
  #chunks = 0
  destroyed = 0

  constructor({ capacity = 8 * 2 ** 30, options = {} }: MemoryOptions = {}) {
    this.#capacity = capacity
    this.options = {
      readOnly: false,
      cacheSeconds: 3600,
      posixAcl: true,
      maxFileSize: 2 ** 43,
      ...options,
    }
    const root = this.#create(1, directoryType | 0o755, 0, 0)
    root.links = 2
    root.parent = 1
  }

  /** Nodes that are kept: for tests of leaks. */
  get inodeCount(): number {
    return this.#nodes.size
  }

  lookup(parent: number, name: ByteString, out: Attributes): number {
    const child = this.#node(parent).children.get(name)
    return child === undefined ? e.ENOENT : fill(child.node, out)
  }

  forget(inode: number): void {
    const node = this.#nodes.get(inode)
    if (node !== undefined && node.links === 0) this.#drop(node)
  }

  getattr(inode: number, out: Attributes): number {
    return fill(this.#node(inode), out)
  }

  setattr(inode: number, change: AttributeChange, out: Attributes): number {
    const node = this.#node(inode)
    const at = now()
    if (change.size !== undefined) this.#resize(node, change.size, at)
    if (change.mode !== undefined) changeMode(node, change.mode)
    if (change.uid !== undefined || change.gid !== undefined) changeOwner(node, change)
    if (change.killPriv) killPrivileges(node)
    node.atime = timeOf(change.atime, node.atime, at)
    node.mtime = timeOf(change.mtime, node.mtime, at)
    node.ctime = change.ctime ?? at
    return fill(node, out)
  }

  readlink(inode: number): ByteString | number {
    const node = this.#node(inode)
    return isType(node, symlinkType) ? node.target : e.EINVAL
  }

  mknod(
    parent: number,
    name: ByteString,
    mode: number,
    rdev: number,
    caller: Caller,
    out: Attributes,
  ): number {
    const node = this.#make(parent, name, mode, caller)
    if (typeof node === "number") return node
    node.rdev = rdev
    return fill(node, out)
  }

  mkdir(parent: number, name: ByteString, mode: number, caller: Caller, out: Attributes): number {
    const node = this.#make(parent, name, directoryType | (mode & 0o7777), caller)
    if (typeof node === "number") return node
    node.links = 2
    node.parent = parent
    this.#node(parent).links += 1
    return fill(node, out)
  }

  symlink(
    parent: number,
    name: ByteString,
    target: ByteString,
    caller: Caller,
    out: Attributes,
  ): number {
    const node = this.#make(parent, name, symlinkType | 0o777, caller)
    if (typeof node === "number") return node
    node.target = target
    node.size = target.length
    return fill(node, out)
  }

  tmpfile(parent: number, mode: number, caller: Caller, out: Attributes): number {
    const node = this.#inherit(this.#node(parent), mode, caller)
    node.links = 0
    return fill(node, out)
  }

  link(inode: number, parent: number, name: ByteString, out: Attributes): number {
    const node = this.#node(inode)
    const directory = this.#node(parent)
    if (directory.links === 0) return e.ENOENT
    if (directory.children.has(name)) return e.EEXIST
    if (node.links >= linkMax) return e.EMLINK
    node.links += 1
    node.ctime = now()
    addChild(directory, name, node)
    return fill(node, out)
  }

  unlink(parent: number, name: ByteString): number {
    const directory = this.#node(parent)
    const child = directory.children.get(name)
    if (child === undefined) return e.ENOENT
    if (isType(child.node, directoryType)) return e.EISDIR
    removeChild(directory, name)
    return unlinked(child.node)
  }

  rmdir(parent: number, name: ByteString): number {
    const directory = this.#node(parent)
    const child = directory.children.get(name)
    if (child === undefined) return e.ENOENT
    if (!isType(child.node, directoryType)) return e.ENOTDIR
    if (child.node.children.size > 0) return e.ENOTEMPTY
    removeChild(directory, name)
    directory.links -= 1
    child.node.links = 0
    child.node.ctime = now()
    return 0
  }

  rename(
    parent: number,
    name: ByteString,
    newParent: number,
    newName: ByteString,
    flags: number,
  ): number {
    const from = this.#node(parent)
    const to = this.#node(newParent)
    const moved = from.children.get(name)?.node
    const target = to.children.get(newName)?.node
    if (moved === undefined) return e.ENOENT
    if (to.links === 0) return e.ENOENT
    if (isType(moved, directoryType) && this.#isInside(newParent, moved.inode)) return e.EINVAL
    if ((flags & 2) !== 0) return this.#exchange(from, name, moved, to, newName, target)
    if (target !== undefined) {
      if ((flags & 1) !== 0) return e.EEXIST
      if (target === moved) return 0
      const refused = replaceable(moved, target)
      if (refused !== 0) return refused
      this.#replace(to, newName, target)
    }
    this.#move(from, name, moved, to, newName)
    if ((flags & 4) !== 0) this.#whiteout(from, name)
    return 0
  }

  #exchange(
    from: Node,
    name: ByteString,
    moved: Node,
    to: Node,
    newName: ByteString,
    target: Node | undefined,
  ): number {
    if (target === undefined) return e.ENOENT
    if (isType(target, directoryType) && this.#isInside(from.inode, target.inode)) return e.EINVAL
    if (target === moved) return 0
    removeChild(to, newName)
    this.#move(from, name, moved, to, newName)
    addChild(from, name, target)
    this.#reparent(target, to, from)
    target.ctime = now()
    return 0
  }

  #replace(to: Node, newName: ByteString, target: Node): void {
    removeChild(to, newName)
    if (isType(target, directoryType)) {
      to.links -= 1
      target.links = 0
      target.ctime = now()
    } else unlinked(target)
  }

  #move(from: Node, name: ByteString, moved: Node, to: Node, newName: ByteString): void {
    removeChild(from, name)
    addChild(to, newName, moved)
    this.#reparent(moved, from, to)
    moved.ctime = now()
  }

  #reparent(node: Node, from: Node, to: Node): void {
    if (!isType(node, directoryType)) return
    from.links -= 1
    to.links += 1
    node.parent = to.inode
  }

  #whiteout(directory: Node, name: ByteString): void {
    const inode = this.#nextInode
    this.#nextInode += 1
    addChild(directory, name, this.#create(inode, 0o020000, 0, 0))
  }

  /** Is directory `inode` the same as, or below, `ancestor`? */
  #isInside(inode: number, ancestor: number): boolean {
    for (let at = inode; ; at = this.#node(at).parent) {
      if (at === ancestor) return true
      if (at === 1) return false
    }
  }

  read(inode: number, offset: number, size: number, target: Buffer, at: number): number {
    const node = this.#node(inode)
    const count = Math.max(0, Math.min(size, node.size - offset))
    for (let done = 0; done < count; ) {
      const within = (offset + done) % chunkSize
      const part = Math.min(count - done, chunkSize - within)
      const chunk = node.chunks.get(Math.floor((offset + done) / chunkSize))
      if (chunk === undefined) target.fill(0, at + done, at + done + part)
      else chunk.copy(target, at + done, within, within + part)
      done += part
    }
    return count
  }

  write(
    inode: number,
    offset: number,
    source: Buffer,
    at: number,
    size: number,
    killPriv: boolean,
  ): number {
    const node = this.#node(inode)
    if (!this.#reserve(node, offset, size)) return e.ENOSPC
    for (let done = 0; done < size; ) {
      const within = (offset + done) % chunkSize
      const part = Math.min(size - done, chunkSize - within)
      const chunk = this.#chunk(node, Math.floor((offset + done) / chunkSize))
      source.copy(chunk, within, at + done, at + done + part)
      done += part
    }
    node.size = Math.max(node.size, offset + size)
    if (killPriv) killPrivileges(node)
    node.xattrs.delete(capability)
    node.mtime = node.ctime = now()
    return size
  }

  fallocate(inode: number, offset: number, size: number, mode: number): number {
    const node = this.#node(inode)
    if (size === 0) return e.EINVAL
    const keep = (mode & fallocKeepSize) !== 0
    const kind = mode & ~fallocKeepSize
    if (kind === fallocPunchHole && keep) this.#zero(node, offset, offset + size)
    else if (kind === fallocZeroRange) this.#zero(node, offset, Math.min(node.size, offset + size))
    else if (kind !== 0) return e.EOPNOTSUPP
    if (kind === 0 && !this.#reserve(node, offset, size)) return e.ENOSPC
    if (kind === 0) this.#allocate(node, offset, size)
    if (!keep) node.size = Math.max(node.size, offset + size)
    node.mtime = node.ctime = now()
    return 0
  }

  #allocate(node: Node, offset: number, size: number): void {
    const last = Math.floor((offset + size - 1) / chunkSize)
    for (let i = Math.floor(offset / chunkSize); i <= last; i += 1) this.#chunk(node, i)
  }

  readdir(inode: number, cookie: number, emit: EmitEntry): number {
    const node = this.#node(inode)
    const self = (out: Attributes) => void fill(node, out)
    const dots = ["." as ByteString, ".." as ByteString] as const
    if (cookie < 1 && !emit(dots[0], inode, 4, 1, self)) return 0
    if (cookie < 2 && !emit(dots[1], node.parent, 4, 2, self)) return 0
    for (const [name, child] of node.children) {
      if (child.cookie <= cookie) continue
      const type = child.node.mode >> 12
      const go = emit(name, child.node.inode, type, child.cookie, (out) => {
        fill(child.node, out)
      })
      if (!go) return 0
    }
    return 0
  }

  getxattr(inode: number, name: ByteString): Uint8Array | number {
    return this.#node(inode).xattrs.get(name) ?? e.ENODATA
  }

  setxattr(
    inode: number,
    name: ByteString,
    value: Uint8Array,
    flags: number,
    killSgid: boolean,
  ): number {
    const node = this.#node(inode)
    const there = node.xattrs.has(name)
    if (flags === 1 && there) return e.EEXIST
    if (flags === 2 && !there) return e.ENODATA
    node.ctime = now()
    if (name === aclAccessName) {
      const result = modeOfAcl(value, node.mode)
      if (result === undefined) return e.EINVAL
      node.mode = killSgid ? result.mode & ~0o2000 : result.mode
      if (result.minimal) {
        node.xattrs.delete(name)
        return 0
      }
    }
    node.xattrs.set(name, Uint8Array.from(value))
    return 0
  }

  listxattr(inode: number): readonly ByteString[] {
    return [...this.#node(inode).xattrs.keys()]
  }

  removexattr(inode: number, name: ByteString): number {
    const node = this.#node(inode)
    if (!node.xattrs.delete(name)) return e.ENODATA
    node.ctime = now()
    return 0
  }

  statfs(out: FileSystemStatus): number {
    out.blockSize = 4096
    out.blocks = this.#capacity / 4096
    out.blocksFree = out.blocksAvailable = (this.#capacity - this.#chunks * chunkSize) / 4096
    out.files = 1_000_000
    out.filesFree = 1_000_000 - this.#nodes.size
    out.nameMax = 255
    return 0
  }

  // A disk that fails: while there is a file of this name in the root.
  fsync(_inode: number, _dataOnly: boolean, _completion: Completion): number | "pending" {
    return this.#node(1).children.has("fail-sync" as ByteString) ? e.EIO : 0
  }

  tick(): number {
    return 1000
  }

  destroy(): void {
    this.destroyed += 1
  }

  #node(inode: number): Node {
    const node = this.#nodes.get(inode)
    if (node === undefined) throw new Error(`the kernel asked for inode ${inode}, which is gone`)
    return node
  }

  #create(inode: number, mode: number, uid: number, gid: number): Node {
    const at = now()
    const node: Node = {
      inode,
      mode,
      uid,
      gid,
      rdev: 0,
      links: 1,
      size: 0,
      atime: at,
      mtime: at,
      ctime: at,
      children: new Map(),
      nextCookie: 3,
      parent: 0,
      target: "" as ByteString,
      chunks: new Map(),
      xattrs: new Map(),
    }
    this.#nodes.set(inode, node)
    return node
  }

  #make(parent: number, name: ByteString, mode: number, caller: Caller): Node | number {
    const directory = this.#node(parent)
    if (directory.links === 0) return e.ENOENT
    if (directory.children.has(name)) return e.EEXIST
    const node = this.#inherit(directory, mode, caller)
    addChild(directory, name, node)
    return node
  }

  #inherit(directory: Node, mode: number, caller: Caller): Node {
    const inode = this.#nextInode
    this.#nextInode += 1
    const setgid = (directory.mode & 0o2000) !== 0
    const isDirectory = (mode & typeMask) === directoryType
    const isLink = (mode & typeMask) === symlinkType
    const defaults = isLink ? undefined : directory.xattrs.get(aclDefaultName as ByteString)
    const umask = this.options.posixAcl && !isLink ? caller.umask : 0
    const inherited = aclForNewFile(defaults, mode, umask)
    const bits = setgid && isDirectory ? inherited.mode | 0o2000 : inherited.mode
    const node = this.#create(inode, bits, caller.uid, setgid ? directory.gid : caller.gid)
    if (inherited.access !== undefined)
      node.xattrs.set(aclAccessName as ByteString, inherited.access)
    if (isDirectory && defaults !== undefined)
      node.xattrs.set(aclDefaultName as ByteString, defaults)
    return node
  }

  #chunk(node: Node, index: number): Buffer {
    const found = node.chunks.get(index)
    if (found !== undefined) return found
    const chunk = Buffer.alloc(chunkSize)
    node.chunks.set(index, chunk)
    this.#chunks += 1
    return chunk
  }

  #reserve(node: Node, offset: number, size: number): boolean {
    if (size === 0) return true
    let wanted = 0
    const last = Math.floor((offset + size - 1) / chunkSize)
    const room = Math.floor(this.#capacity / chunkSize) - this.#chunks
    for (let i = Math.floor(offset / chunkSize); i <= last && wanted <= room; i += 1)
      if (!node.chunks.has(i)) wanted += 1
    return wanted <= room
  }

  #resize(node: Node, size: number, at: Time): void {
    if (size < node.size) this.#zero(node, size, node.size)
    node.size = size
    node.mtime = at
    node.xattrs.delete(capability)
  }

  #zero(node: Node, from: number, to: number): void {
    for (const [index, chunk] of node.chunks) {
      const begin = Math.max(0, from - index * chunkSize)
      const end = Math.min(chunkSize, to - index * chunkSize)
      if (begin === 0 && end >= Math.min(chunkSize, Math.max(1, node.size - index * chunkSize))) {
        if (end <= 0) continue
        node.chunks.delete(index)
        this.#chunks -= 1
      } else if (begin < end) chunk.fill(0, begin, end)
    }
  }

  #drop(node: Node): void {
    this.#chunks -= node.chunks.size
    this.#nodes.delete(node.inode)
  }
}
