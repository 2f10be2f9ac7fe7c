import { isErrno } from "../../errors.ts"
import type { Disk } from "./disk.ts"

interface DeadFile {
  readonly path: string
  readonly segment: number
  /** The checkpoint that needs the file no more. */
  readonly checkpoint: number
  readonly due: number
  readonly size: number
}

/**
 * Segment files that nothing names any more. A file is deleted only when the anchor holds the checkpoint that dropped it,
 * and after a time of grace for readers of older tags; on a full disk the grace is over at once.
 */
export class Garbage {
  readonly #disk: Disk
  readonly #graceMs: number
  readonly #now: () => number
  #files: DeadFile[] = []

  constructor(disk: Disk, graceMs: number, now: () => number) {
    this.#disk = disk
    this.#graceMs = graceMs
    this.#now = now
  }

  /** What deleting all of it would give back, in bytes. */
  get size(): number {
    return this.#files.reduce((sum, { size }) => sum + size, 0)
  }

  /** `since`: from when on nothing names the file; default now. */
  add(file: Omit<DeadFile, "due">, since = this.#now()): void {
    const due = Math.min(since, this.#now()) + this.#graceMs
    this.#files.push({ ...file, due })
  }

  /** Deletes what may be deleted, `anchored` being the anchored commit; returns the numbers of the segments. */
  collect(anchored: number, hurry: boolean): number[] {
    if (this.#files.length === 0) return []
    const now = this.#now()
    const dead = this.#files.filter(
      ({ checkpoint, due }) => checkpoint <= anchored && (hurry || due <= now),
    )
    this.#files = this.#files.filter((file) => !dead.includes(file))
    for (const { path } of dead) removeIfThere(this.#disk, path)
    return dead.map(({ segment }) => segment)
  }

  /** Milliseconds until the next file is due. */
  due(): number | undefined {
    if (this.#files.length === 0) return undefined
    return Math.max(0, Math.min(...this.#files.map(({ due }) => due)) - this.#now())
  }
}

function removeIfThere(disk: Disk, path: string): void {
  try {
    disk.remove(path)
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw error
  }
}
