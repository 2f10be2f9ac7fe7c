import {
  closeSync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  statfsSync,
  unlinkSync,
  writeSync,
} from "node:fs"
import { dirname, join } from "node:path"
import { isErrno } from "../../errors.ts"
import { dropCache, readSoon, reserveBlocks, tryLock, writeSoon } from "../../sys/index.ts"
import type { Disk } from "./disk.ts"

/** A directory of this machine. */
export class NodeDisk implements Disk {
  readonly path: string
  #lockFd: number | undefined

  constructor(path: string) {
    this.path = path
  }

  initialise(): void {
    try {
      mkdirSync(this.path, { mode: 0o700 })
    } catch (error) {
      // `lost+found` is what an empty disk has at its root.
      const busy = () => readdirSync(this.path).some((name) => name !== "lost+found")
      if (!isErrno(error, "EEXIST") || busy()) throw error
    }
    mkdirSync(this.#at("segments"), { mode: 0o700 })
    syncFolder(this.path)
    syncFolder(dirname(this.path))
  }

  lock(): boolean {
    const fd = openSync(this.#at("lock"), "a", 0o600)
    if (tryLock(fd)) {
      this.#lockFd = fd
      return true
    }
    closeSync(fd)
    return false
  }

  unlock(): void {
    if (this.#lockFd === undefined) return
    closeSync(this.#lockFd)
    this.#lockFd = undefined
  }

  segments(): string[] {
    return readdirSync(this.#at("segments"))
  }

  open(name: string): number {
    return openSync(this.#at(name), "r")
  }

  create(name: string): number {
    return openSync(this.#at(name), "wx+", 0o600)
  }

  close(fd: number): void {
    closeSync(fd)
  }

  size(fd: number): number {
    return fstatSync(fd).size
  }

  modified(fd: number): number {
    return fstatSync(fd).mtimeMs
  }

  read(fd: number, target: Uint8Array, at: number, size: number, position: number): number {
    let done = 0
    while (done < size) {
      const got = readSync(fd, target, at + done, size - done, position + done)
      if (got === 0) break
      done += got
    }
    return done
  }

  prefetch(fd: number, offset: number, size: number): void {
    readSoon(fd, offset, size)
  }

  write(fd: number, source: Uint8Array, at: number, size: number, position: number): void {
    let done = 0
    while (done < size) done += writeSync(fd, source, at + done, size - done, position + done)
  }

  writeSoon(fd: number, offset: number, size: number): void {
    writeSoon(fd, offset, size)
  }

  reserve(fd: number, offset: number, size: number): boolean {
    return reserveBlocks(fd, offset, size)
  }

  trim(fd: number, size: number): void {
    ftruncateSync(fd, size)
  }

  sync(fd: number): void {
    fdatasyncSync(fd)
  }

  syncDirectory(): void {
    syncFolder(this.#at("segments"))
    syncFolder(this.path)
  }

  reload(name: string): void {
    const fd = openSync(this.#at(name), "r")
    try {
      fdatasyncSync(fd)
      dropCache(fd)
    } finally {
      closeSync(fd)
    }
  }

  remove(name: string): void {
    unlinkSync(this.#at(name))
  }

  space(): { readonly free: number; readonly total: number } {
    const { bavail, blocks, bsize } = statfsSync(this.path)
    return { free: bavail * bsize, total: blocks * bsize }
  }

  #at(name: string): string {
    return join(this.path, name)
  }
}

function syncFolder(path: string): void {
  const fd = openSync(path, "r")
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
