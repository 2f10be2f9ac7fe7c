import { closeSync, openSync, readSync } from "node:fs"
import { CofferError } from "../../errors.ts"
import { readSoon } from "../../sys/index.ts"
import type { Disk } from "./disk.ts"

/** A file of a volume that lies anywhere: a file of its own, or a part of a larger one. */
export interface FileExtent {
  /** As in the volume's directory: `header`, `segments/…`. */
  readonly name: string
  /** Of an open file: `/proc/self/fd/N`. */
  readonly path: string
  /** Bytes. */
  readonly offset: number
  readonly size: number
}

/** A volume whose files are known beforehand, for reading only. They are opened here, each path once, and closed by `close`. */
export class ExtentDisk implements Disk {
  readonly path: string
  readonly #files: readonly FileExtent[]
  readonly #fds = new Map<string, number>()

  /** `path` is for messages. */
  constructor(path: string, files: readonly FileExtent[]) {
    this.path = path
    this.#files = files
    for (const file of files)
      if (!this.#fds.has(file.path)) this.#fds.set(file.path, openSync(file.path, "r"))
  }

  segments(): string[] {
    const prefix = "segments/"
    return this.#files
      .filter(({ name }) => name.startsWith(prefix))
      .map(({ name }) => name.slice(prefix.length))
  }

  /** The descriptor is the file's place in our list. */
  open(name: string): number {
    const at = this.#files.findIndex((file) => file.name === name)
    if (at >= 0) return at
    const error: NodeJS.ErrnoException = new Error(`${this.path}/${name}: no such file`)
    error.code = "ENOENT"
    throw error
  }

  size(fd: number): number {
    return this.#file(fd).size
  }

  read(fd: number, target: Uint8Array, at: number, size: number, position: number): number {
    const file = this.#file(fd)
    const most = Math.min(size, file.size - position)
    let done = 0
    while (done < most) {
      const from = file.offset + position + done
      const got = readSync(this.#fds.get(file.path) ?? -1, target, at + done, most - done, from)
      if (got === 0) break
      done += got
    }
    return done
  }

  prefetch(fd: number, offset: number, size: number): void {
    const file = this.#file(fd)
    readSoon(this.#fds.get(file.path) ?? -1, file.offset + offset, size)
  }

  close(): void {
    // one file may serve several descriptors: all are closed together, by `closeAll`
  }

  closeAll(): void {
    for (const fd of this.#fds.values()) closeSync(fd)
    this.#fds.clear()
  }

  space(): { readonly free: number; readonly total: number } {
    return { free: 0, total: this.#files.reduce((sum, { size }) => sum + size, 0) }
  }

  modified(): number {
    return 0
  }

  unlock(): void {}

  initialise(): never {
    throw readOnly()
  }

  lock(): never {
    throw readOnly()
  }

  create(): never {
    throw readOnly()
  }

  write(): never {
    throw readOnly()
  }

  reserve(): never {
    throw readOnly()
  }

  trim(): never {
    throw readOnly()
  }

  sync(): never {
    throw readOnly()
  }

  syncDirectory(): never {
    throw readOnly()
  }

  reload(): never {
    throw readOnly()
  }

  remove(): never {
    throw readOnly()
  }

  #file(fd: number): FileExtent {
    const file = this.#files[fd]
    if (file === undefined) throw new TypeError(`no file ${fd}`)
    return file
  }
}

function readOnly(): CofferError {
  return new CofferError("io", "the store is open for reading only", { reason: "read-only" })
}
