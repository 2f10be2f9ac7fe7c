import { closeSync, constants, openSync } from "node:fs"
import type { ByteString } from "../bytes/index.ts"

// The system refuses a path of 4,096 bytes (PATH_MAX); a tree may be deeper. Such a path is opened piece by piece.
const maxPathSize = 3800

export const openDirectoryFlags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW

/** The path of `name` in the directory that is open as `fd`. */
export function pathIn(fd: number, name: ByteString): Buffer {
  return Buffer.from(`/proc/self/fd/${fd}/${name}`, "latin1")
}

/** Calls `use` with a path that the system takes for `path`, however long that is; it is good only during the call. */
export function withSystemPath<T>(path: ByteString, use: (systemPath: Buffer) => T): T {
  if (path.length <= maxPathSize) return use(Buffer.from(path, "latin1"))
  const cut = path.lastIndexOf("/", maxPathSize)
  let fd = openSync(Buffer.from(path.slice(0, cut), "latin1"), openDirectoryFlags)
  try {
    const names = path.slice(cut + 1).split("/") as ByteString[]
    const last = names.pop() ?? ("." as ByteString)
    for (const name of names) {
      const next = openSync(pathIn(fd, name), openDirectoryFlags)
      closeSync(fd)
      fd = next
    }
    return use(pathIn(fd, last))
  } finally {
    closeSync(fd)
  }
}
