import { randomUUID } from "node:crypto"
import {
  closeSync,
  constants,
  copyFileSync,
  fstatSync,
  futimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs"
import { join } from "node:path"
import { CofferError, fromSystem, isErrno } from "../errors.ts"
import type { Spool } from "./spool-file.ts"

const mostBytes = 8 * 2 ** 30

/**
 * Decompressed layers in a directory of the user's, by diff id, so that an image whose layers are the same needs no
 * decompression again. A layer counts only when all its bytes have the diff id, each time. Their content is in clear: the
 * directory is for its owner alone, and exists only when somebody asks for it.
 */
export class LayerCache {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 })
    } catch (error) {
      throw fromSystem(error, `cache ${directory}`)
    }
    const { uid, mode } = statSync(directory)
    if (uid !== process.getuid?.() || (mode & 0o077) !== 0)
      throw new CofferError(
        "config",
        `cache ${directory}: wanted a directory of ours, mode 0700, found owner ${uid}, mode 0${(mode & 0o777).toString(8)}`,
        { hint: "it holds layers in clear, and is read as we have written it" },
      )
  }

  /** What is kept under this diff id, if anything: it counts only when its bytes have it. The caller closes it. */
  find(diffId: string): Spool | undefined {
    const path = this.#pathOf(diffId)
    let fd: number
    try {
      fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW)
    } catch (error) {
      if (isErrno(error, "ENOENT", "ELOOP")) return undefined
      throw fromSystem(error, path)
    }
    if (fstatSync(fd).isFile()) return new CachedLayer(fd)
    closeSync(fd)
    this.remove(diffId)
    return undefined
  }

  /** A layer that was found, and whose bytes have the diff id, stays longer. */
  used({ fd }: Pick<Spool, "fd">): void {
    try {
      const now = new Date()
      futimesSync(fd, now, now)
    } catch {
      // a read-only cache works too
    }
  }

  /** What is damaged. */
  remove(diffId: string): void {
    rmSync(this.#pathOf(diffId), { force: true, recursive: true })
  }

  /** Keeps a layer whose digest was checked. A full disk is no fault: it is only a cache. */
  keep(diffId: string, { fd }: Pick<Spool, "fd">): void {
    const beside = join(this.#directory, `.new-${randomUUID()}`)
    try {
      copyFileSync(`/proc/self/fd/${fd}`, beside, constants.COPYFILE_FICLONE)
      renameSync(beside, this.#pathOf(diffId))
    } catch (error) {
      rmSync(beside, { force: true })
      if (!isErrno(error, "ENOSPC", "EDQUOT")) throw fromSystem(error, `cache ${this.#directory}`)
    }
    this.#prune()
  }

  /** The layers that were used last stay. */
  #prune(): void {
    const files = readdirSync(this.#directory)
      .map((name) => join(this.#directory, name))
      .map((path) => ({ path, stat: statSync(path, { throwIfNoEntry: false }) }))
      .toSorted((a, b) => (b.stat?.mtimeMs ?? 0) - (a.stat?.mtimeMs ?? 0))
    let size = 0
    for (const { path, stat } of files) {
      size += stat?.size ?? 0
      if (size > mostBytes) rmSync(path, { force: true })
    }
  }

  #pathOf(diffId: string): string {
    return join(this.#directory, diffId.replace("sha256:", ""))
  }
}

class CachedLayer implements Spool {
  readonly fd: number
  readonly size: number

  constructor(fd: number) {
    this.fd = fd
    this.size = fstatSync(fd).size
  }

  read(target: Uint8Array, position: number): void {
    for (let at = 0; at < target.length; ) {
      const count = readSync(this.fd, target, at, target.length - at, position + at)
      if (count === 0) throw new CofferError("io", "a layer in the cache was cut")
      at += count
    }
  }

  close(): void {
    closeSync(this.fd)
  }
}
