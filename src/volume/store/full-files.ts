import type { Disk } from "./disk.ts"

interface FullFile {
  readonly fd: number
  /** Where its frames end. */
  readonly end: number
}

/** Files of segments that are full, but perhaps not on the disk yet. */
export class FullFiles {
  readonly #disk: Disk
  #files: FullFile[] = []

  constructor(disk: Disk) {
    this.#disk = disk
  }

  add(fd: number, end: number): void {
    this.#files.push({ fd, end })
  }

  sync(): void {
    for (const { fd } of this.#files) this.#disk.sync(fd)
  }

  /** They are on the disk, and so are their names: gives back what was reserved behind their ends. */
  finish(): void {
    for (const { fd, end } of this.#files) this.#disk.trim(fd, end)
    this.close()
  }

  close(): void {
    for (const { fd } of this.#files) this.#disk.close(fd)
    this.#files = []
  }
}
