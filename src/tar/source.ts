import { fstatSync, readSync } from "node:fs"
import { CofferError, fromSystem } from "../errors.ts"

/** A tar that can be read at any place; a `Content` is one too. */
export interface TarSource {
  /** Bytes. */
  readonly size: number
  /** The open file that it is, from its first byte on. */
  readonly fd?: number
  /** Fills the whole of `target` from `position`; both lie within `size`. */
  read(target: Uint8Array, position: number): void
}

/** A tar in an open file. The caller closes it, after the last read of the tree's content. */
export function tarSourceOfFile(fd: number): TarSource {
  const stat = fstatSync(fd)
  if (!stat.isFile()) {
    throw new CofferError("usage", "wanted a tar in a regular file, found something else", {
      hint: "a tar that comes from a pipe must be stored first",
    })
  }
  return tarSourceOfRange(fd, 0, stat.size)
}

/** A tar in a part of an open file, under the same conditions. */
export function tarSourceOfRange(fd: number, offset: number, size: number): TarSource {
  return {
    size,
    ...(offset === 0 ? { fd } : {}),
    read(target, position) {
      let done = 0
      while (done < target.length) {
        const count = readOnce(fd, target, done, offset + position + done)
        if (count === 0) throw new CofferError("io", "tar: wanted it to stay, found it cut off")
        done += count
      }
    },
  }
}

function readOnce(fd: number, target: Uint8Array, done: number, position: number): number {
  try {
    return readSync(fd, target, done, target.length - done, position)
  } catch (error) {
    throw fromSystem(error, "read the tar")
  }
}
