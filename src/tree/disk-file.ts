// Hot path: every byte of a directory source goes through here.
import { type BigIntStats, closeSync, constants, fstatSync, openSync, readSync } from "node:fs"
import { type ByteString, displayName } from "../bytes/index.ts"
import { CofferError, fromSystem } from "../errors.ts"
import { seekData, seekHole } from "../sys/index.ts"
import type { Content, DataRange } from "./model.ts"
import { withSystemPath } from "./system-path.ts"

// A name may have become something else since it was listed: a symlink is not followed, and a fifo does not block.
const openFlags =
  constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY

/** What must stay as it was for the bytes read to be the file's. */
export interface FileState {
  readonly device: bigint
  readonly inode: bigint
  readonly size: bigint
  readonly mtimeNs: bigint
}

export function stateOf(stat: BigIntStats): FileState {
  return { device: stat.dev, inode: stat.ino, size: stat.size, mtimeNs: stat.mtimeNs }
}

const maxOpenCount = 64
const openFiles = new Map<DiskFile, number>()

/**
 * The content of a file on disk, opened when it is first read. A few descriptors stay open, the least recently read is
 * closed first, and each as soon as the file's last byte was read. Each read checks that the file is still the one that
 * was listed, with the same size and modification time.
 */
export class DiskFile implements Content {
  readonly size: number
  readonly #path: ByteString
  readonly #state: FileState
  #ranges: readonly DataRange[] | undefined

  constructor(path: ByteString, state: FileState, mayHaveHoles: boolean) {
    this.#path = path
    this.#state = state
    this.size = Number(state.size)
    if (this.size === 0) this.#ranges = []
    else if (!mayHaveHoles) this.#ranges = [{ offset: 0, size: this.size }]
  }

  get ranges(): readonly DataRange[] {
    this.#ranges ??= this.#attempt(() => {
      const fd = this.#descriptor()
      const found = dataRanges(fd, this.size)
      this.#checkUnchanged(fd)
      this.close()
      return found
    })
    return this.#ranges
  }

  read(target: Uint8Array, position: number): void {
    if (position < 0 || position + target.length > this.size) {
      throw new TypeError("read past the end of the content")
    }
    if (target.length === 0) return
    this.#attempt(() => {
      const fd = this.#descriptor()
      let done = 0
      while (done < target.length) {
        const count = readSync(fd, target, done, target.length - done, position + done)
        if (count === 0) throw this.#changed("it became shorter")
        done += count
      }
      this.#checkUnchanged(fd)
    })
    if (position + target.length === this.size) this.close()
  }

  close(): void {
    const fd = openFiles.get(this)
    if (fd === undefined) return
    openFiles.delete(this)
    closeSync(fd)
  }

  #descriptor(): number {
    const open = openFiles.get(this)
    if (open !== undefined) {
      // The Map's order is the order of use.
      openFiles.delete(this)
      openFiles.set(this, open)
      return open
    }
    if (openFiles.size >= maxOpenCount) openFiles.keys().next().value?.close()
    const fd = withSystemPath(this.#path, (path) => openSync(path, openFlags))
    openFiles.set(this, fd)
    return fd
  }

  #checkUnchanged(fd: number): void {
    const now = fstatSync(fd, { bigint: true })
    const was = this.#state
    if (now.dev !== was.device || now.ino !== was.inode)
      throw this.#changed("another file is there")
    if (now.size !== was.size) throw this.#changed(`its size went from ${was.size} to ${now.size}`)
    if (now.mtimeNs !== was.mtimeNs) throw this.#changed("it was written to")
  }

  #changed(how: string): CofferError {
    const path = displayName(this.#path)
    return new CofferError("io", `${path}: wanted a file that stays as it is, found that ${how}`, {
      hint: "run again when nothing writes to the directory",
      reason: "source-changed",
      facts: { path },
    })
  }

  #attempt<T>(action: () => T): T {
    try {
      return action()
    } catch (error) {
      this.close()
      throw fromSystem(error, `read ${displayName(this.#path)}`)
    }
  }
}

function dataRanges(fd: number, size: number): DataRange[] {
  const ranges: DataRange[] = []
  let end = 0
  while (end < size) {
    const offset = seekData(fd, end)
    if (offset === undefined || offset >= size) break
    end = Math.min(seekHole(fd, offset), size)
    // A filesystem that answers nonsense must not make us loop.
    if (end <= offset) return [{ offset: 0, size }]
    ranges.push({ offset, size: end - offset })
  }
  return ranges
}
