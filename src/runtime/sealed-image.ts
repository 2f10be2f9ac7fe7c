import { closeSync, constants, fstatSync, lstatSync, openSync } from "node:fs"
import { join } from "node:path"
import { CofferError, fromSystem, isErrno } from "../errors.ts"
import { type FileSource, openFile, readSealed, type SealedBinary } from "../seal/index.ts"

/** A sealed binary that has been read and measured, and the descriptor of its file, for the shield. */
export interface MeasuredFile {
  readonly sealed: SealedBinary
  readonly source: FileSource
}

/** Opens the sealed binary in the root filesystem that the engine has made of an image. */
export function openSealedIn(root: string, sealedPath: string): MeasuredFile {
  // The tree comes from the adversary: a symlink or a device in it must not lead us to a file of the host.
  const directory = join(root, sealedPath, "..")
  if (!isRealDirectory(directory)) throw notProtected(root)
  try {
    return openSealed(join(root, sealedPath), constants.O_NOFOLLOW)
  } catch (error) {
    if (error instanceof CofferError && error.reason === "not-sealed") throw notProtected(root)
    throw error
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

function notProtected(root: string): CofferError {
  return new CofferError("refused", `${root}: wanted a protected image, found one that is not`, {
    reason: "not-protected",
    hint: "coffer protect IMAGE IMAGE-protected, and run that one",
  })
}

/** Reads and measures the sealed binary at `path`. The caller closes `source`. */
export function openSealed(path: string, flags = 0): MeasuredFile {
  const fd = openOrThrow(path, flags)
  let source: FileSource | undefined
  try {
    if (!fstatSync(fd).isFile())
      throw new CofferError("config", `${path}: wanted a sealed binary, found no regular file`, {
        reason: "not-sealed",
      })
    source = openFile(`/proc/self/fd/${fd}`)
    return { sealed: readSealed(source), source }
  } catch (error) {
    source?.close()
    throw error
  } finally {
    closeSync(fd)
  }
}

function openOrThrow(path: string, flags: number): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | flags)
  } catch (error) {
    if (isErrno(error, "ENOENT", "ELOOP", "ENOTDIR"))
      throw new CofferError("missing", `${path}: wanted a sealed binary, found none`, {
        reason: "not-sealed",
        cause: error,
      })
    throw fromSystem(error, path)
  }
}
