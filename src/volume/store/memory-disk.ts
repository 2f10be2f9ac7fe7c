import type { Disk } from "./disk.ts"

interface MemoryFile {
  bytes: Buffer
  size: number
}

const firstSize = 64 * 1024

/** A disk that is forgotten with the process. */
export class MemoryDisk implements Disk {
  readonly path = "memory"
  readonly #files = new Map<string, MemoryFile>()
  readonly #open = new Map<number, MemoryFile>()
  #lastFd = 0

  initialise(): void {}

  lock(): boolean {
    return true
  }

  unlock(): void {}

  segments(): string[] {
    return [...this.#files.keys()]
      .filter((name) => name.startsWith("segments/"))
      .map((name) => name.slice("segments/".length))
  }

  open(name: string): number {
    const file = this.#files.get(name)
    if (file === undefined)
      throw Object.assign(new Error(`ENOENT: ${name}`), { code: "ENOENT", syscall: "open" })
    this.#lastFd += 1
    this.#open.set(this.#lastFd, file)
    return this.#lastFd
  }

  create(name: string): number {
    this.#files.set(name, { bytes: Buffer.alloc(firstSize), size: 0 })
    return this.open(name)
  }

  close(fd: number): void {
    this.#open.delete(fd)
  }

  size(fd: number): number {
    return this.#file(fd).size
  }

  modified(_fd: number): number {
    return 0
  }

  read(fd: number, target: Uint8Array, at: number, size: number, position: number): number {
    const file = this.#file(fd)
    const end = Math.min(position + size, file.size)
    if (end <= position) return 0
    target.set(file.bytes.subarray(position, end), at)
    return end - position
  }

  write(fd: number, source: Uint8Array, at: number, size: number, position: number): void {
    const file = this.#file(fd)
    const end = position + size
    if (end > file.bytes.length) {
      const larger = Buffer.alloc(2 * end)
      larger.set(file.bytes)
      file.bytes = larger
    }
    file.bytes.set(source.subarray(at, at + size), position)
    file.size = Math.max(file.size, end)
  }

  reserve(_fd: number, _offset: number, _size: number): boolean {
    return false
  }

  trim(fd: number, size: number): void {
    this.#file(fd).size = size
  }

  sync(_fd: number): void {}

  syncDirectory(): void {}

  reload(_name: string): void {}

  remove(name: string): void {
    this.#files.delete(name)
  }

  space(): { readonly free: number; readonly total: number } {
    return { free: Number.MAX_SAFE_INTEGER, total: Number.MAX_SAFE_INTEGER }
  }

  #file(fd: number): MemoryFile {
    const file = this.#open.get(fd)
    if (file === undefined) throw new TypeError(`no open file ${fd}`)
    return file
  }
}
