import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  rmSync,
  writeSync,
} from "node:fs"
import { join } from "node:path"
import { utf8OfByteString } from "../bytes/index.ts"
import { CofferError, fromSystem, isErrno } from "../errors.ts"
import type { StoredRegion } from "../protect/index.ts"
import { storesPath } from "../seal/index.ts"
import { makeScratch, scratchError } from "../sys/index.ts"
import { type Content, lookup, readPieces, walk } from "../tree/index.ts"
import type { FileExtent } from "../volume/index.ts"

/** The stores of an image's regions, by name, in open files: whatever becomes of the image, these are read. */
export class RegionStores {
  readonly #files = new Map<string, readonly FileExtent[]>()
  readonly #fds: number[] = []

  /** Those of the regions `names` in the root filesystem that an engine has made of an image. */
  static inRoot(root: string, names: readonly string[]): RegionStores {
    const stores = new RegionStores()
    try {
      for (const name of names) stores.#openDirectory(name, join(root, storesPath, name), root)
      return stores
    } catch (error) {
      stores.close()
      throw error
    }
  }

  /** Those of an image that is read by us: where they lie, if that is a file, else as unnamed copies. */
  static ofImage(found: readonly StoredRegion[]): RegionStores {
    const stores = new RegionStores()
    try {
      for (const store of found) if (!stores.#openPlaces(store)) stores.#copy(store)
      return stores
    } catch (error) {
      stores.close()
      throw error
    }
  }

  static none(): RegionStores {
    return new RegionStores()
  }

  /** Undefined: the image has no such store. */
  of(name: string): readonly FileExtent[] | undefined {
    return this.#files.get(name)
  }

  close(): void {
    for (const fd of this.#fds.splice(0)) closeSync(fd)
    this.#files.clear()
  }

  // The tree comes from the adversary: a symlink or a device in it must not lead us to a file of the host.
  #openDirectory(name: string, directory: string, root: string): void {
    const segments = join(directory, "segments")
    for (const path of [join(root, storesPath, ".."), join(root, storesPath), directory, segments])
      if (!isRealDirectory(path)) return
    const names = readdirSync(segments).map((segment) => `segments/${segment}`)
    this.#files.set(
      name,
      ["header", ...names].flatMap((file) => this.#open(directory, file)),
    )
  }

  #open(directory: string, name: string): FileExtent[] {
    const fd = openRegular(join(directory, name))
    if (fd === undefined) return []
    this.#fds.push(fd)
    return [{ name, path: `/proc/self/fd/${fd}`, offset: 0, size: fstatSync(fd).size }]
  }

  // Nobody has to copy what is verified on every read. The descriptor is our own: the image may be closed.
  #openPlaces({ name, files }: StoredRegion): boolean {
    const own = new Map<number, number>()
    const extents: FileExtent[] = []
    for (const { path, node } of walk(files)) {
      if (node.kind !== "file") continue
      const { place, size } = node.content
      if (place === undefined) return false
      const known = own.get(place.fd)
      const fd = known ?? openSync(`/proc/self/fd/${place.fd}`, "r")
      if (known === undefined) this.#fds.push(fd)
      own.set(place.fd, fd)
      const file = utf8OfByteString(path.slice(1))
      extents.push({ name: file, path: `/proc/self/fd/${fd}`, offset: place.offset, size })
    }
    this.#files.set(name, extents)
    return true
  }

  /** All files of a store, one after the other, in one. */
  #copy({ name, files }: StoredRegion): void {
    const fd = unnamedFile()
    this.#fds.push(fd)
    const extents: FileExtent[] = []
    let offset = 0
    for (const { path } of walk(files)) {
      const node = lookup(files, path)
      if (node?.kind !== "file") continue
      const { size } = node.content
      writePieces(fd, node.content, offset)
      const place = `/proc/self/fd/${fd}`
      extents.push({ name: utf8OfByteString(path.slice(1)), path: place, offset, size })
      offset += size
    }
    this.#files.set(name, extents)
  }
}

function isRealDirectory(path: string): boolean {
  try {
    return lstatSync(path).isDirectory()
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return false
    throw fromSystem(error, path)
  }
}

/** Undefined when there is no regular file of that name itself: then nothing is opened, or waited for. */
function openRegular(path: string): number | undefined {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW)
  } catch (error) {
    if (isErrno(error, "ENOENT", "ELOOP", "ENOTDIR", "ENXIO")) return undefined
    throw fromSystem(error, path)
  }
  if (fstatSync(fd).isFile()) return fd
  closeSync(fd)
  return undefined
}

function unnamedFile(): number {
  const directory = makeScratch("coffer-store-")
  try {
    return openSync(join(directory, "store"), "wx+", 0o600)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

function writePieces(fd: number, content: Content, at: number): void {
  try {
    for (const { bytes, position } of readPieces(content, { offset: 0, size: content.size }))
      writeAll(fd, bytes, at + position)
  } catch (error) {
    throw scratchError(error, "a region's store: temporary file")
  }
}

function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  let done = 0
  while (done < bytes.length) {
    const count = writeSync(fd, bytes, done, bytes.length - done, position + done)
    if (count === 0) throw new CofferError("io", "wanted to write, and the disk took nothing")
    done += count
  }
}
