// Hot path: reads of measured files and first look-ups; the kernel caches what it has been told for good.
import type { BinfsReader } from "../binfs/index.ts"
import type { ByteString } from "../bytes/index.ts"
import type {
  Attributes,
  EmitEntry,
  FileSystem,
  FileSystemOptions,
  FileSystemStatus,
} from "../fuse/index.ts"

type Place = ReturnType<BinfsReader["stat"]>

const ENOENT = -2
const EINVAL = -22
const EROFS = -30
const ENODATA = -61
const blockSize = 4096
const maxCachedPlaces = 65_536
// Nothing in it ever changes: the kernel may keep what it knows as long as it has room.
const forever = 1_000_000_000

const typeBits = {
  file: 0o100000,
  directory: 0o040000,
  character: 0o020000,
  block: 0o060000,
  fifo: 0o010000,
  socket: 0o140000,
  symlink: 0o120000,
} as const

/**
 * A binary filesystem as the loop serves it: read-only, node numbers are inode numbers (the root is 1; no node has
 * that number, since the superblock stands there). What verity or the reader refuses is thrown: EIO and an incident.
 */
export class BinfsFileSystem implements FileSystem {
  readonly options: FileSystemOptions = {
    readOnly: true,
    cacheSeconds: forever,
    posixAcl: true,
    maxFileSize: Number.MAX_SAFE_INTEGER,
  }
  readonly #reader: BinfsReader
  readonly #places = new Map<number, Place>()
  readonly #close: () => void
  #closed = false
  #listed = 0
  readonly #fillListed = (out: Attributes): void => {
    this.#fill(this.#place(this.#listed), out)
  }

  /** `close` is called once, at the end. */
  constructor(reader: BinfsReader, close: () => void) {
    this.#reader = reader
    this.#close = close
  }

  lookup(parent: number, name: ByteString, out: Attributes): number {
    const place = this.#reader.lookUp(this.#place(parent), name)
    return place === undefined ? ENOENT : this.#fill(place, out)
  }

  forget(): void {
    // Nothing is kept for an inode but a place in a bounded cache.
  }

  getattr(inode: number, out: Attributes): number {
    return this.#fill(this.#place(inode), out)
  }

  readlink(inode: number): ByteString | number {
    const place = this.#place(inode)
    return place.inode.kind === "symlink" ? this.#reader.readLink(place) : EINVAL
  }

  read(inode: number, offset: number, size: number, target: Buffer, at: number): number {
    const place = this.#place(inode)
    const count = Math.max(0, Math.min(size, place.inode.size - offset))
    if (count > 0) this.#reader.read(place, target.subarray(at, at + count), offset)
    return count
  }

  /** The cookie is the place in the listing: nothing comes or goes. */
  readdir(inode: number, cookie: number, emit: EmitEntry): number {
    const { entries } = this.#reader.list(this.#place(inode))
    for (let i = cookie; i < entries.length; i += 1) {
      const entry = entries[i]
      if (entry === undefined) break
      this.#listed = this.#inodeOf(entry.nid)
      const type = typeBits[entry.kind] >> 12
      if (!emit(entry.name, this.#listed, type, i + 1, this.#fillListed)) break
    }
    return 0
  }

  getxattr(inode: number, name: ByteString): Uint8Array | number {
    const found = this.#reader.xattrs(this.#place(inode)).find((xattr) => xattr.name === name)
    return found?.value ?? ENODATA
  }

  listxattr(inode: number): readonly ByteString[] {
    return this.#reader.xattrs(this.#place(inode)).map(({ name }) => name)
  }

  statfs(out: FileSystemStatus): number {
    const { superblock, size } = this.#reader.image
    out.blockSize = blockSize
    out.blocks = Math.ceil(size / blockSize)
    out.blocksFree = out.blocksAvailable = out.filesFree = 0
    out.files = superblock.inodeCount
    out.nameMax = 255
    return 0
  }

  setattr(): number {
    return EROFS
  }

  mknod(): number {
    return EROFS
  }

  mkdir(): number {
    return EROFS
  }

  symlink(): number {
    return EROFS
  }

  tmpfile(): number {
    return EROFS
  }

  link(): number {
    return EROFS
  }

  unlink(): number {
    return EROFS
  }

  rmdir(): number {
    return EROFS
  }

  rename(): number {
    return EROFS
  }

  write(): number {
    return EROFS
  }

  fallocate(): number {
    return EROFS
  }

  setxattr(): number {
    return EROFS
  }

  removexattr(): number {
    return EROFS
  }

  fsync(): number {
    return 0
  }

  tick(): number {
    return 60_000
  }

  destroy(): void {
    if (this.#closed) return
    this.#closed = true
    this.#close()
  }

  #inodeOf(nid: number): number {
    return nid === this.#reader.rootNid ? 1 : nid
  }

  #place(inode: number): Place {
    const cached = this.#places.get(inode)
    if (cached !== undefined) return cached
    if (this.#places.size >= maxCachedPlaces) this.#places.clear()
    const place = this.#reader.stat(inode === 1 ? this.#reader.rootNid : inode)
    this.#places.set(inode, place)
    return place
  }

  #fill({ nid, inode }: Place, out: Attributes): number {
    out.inode = this.#inodeOf(nid)
    out.size = inode.size
    out.blocks = Math.ceil(inode.size / blockSize) * 8
    out.mode = typeBits[inode.kind] | inode.mode
    out.linkCount = inode.linkCount
    out.uid = inode.uid
    out.gid = inode.gid
    out.rdev = inode.kind === "character" || inode.kind === "block" ? inode.u : 0
    out.blockSize = blockSize
    out.atimeSeconds = out.mtimeSeconds = out.ctimeSeconds = inode.seconds
    out.atimeNanoseconds = out.mtimeNanoseconds = out.ctimeNanoseconds = inode.nanoseconds
    return 0
  }
}
