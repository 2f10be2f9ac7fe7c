import { closeSync, constants, fstatSync, lstatSync, openSync } from "node:fs"
import { join } from "node:path"
import { CofferError, fromSystem, isErrno } from "../errors.ts"
import { type FileSource, openFile, readSealed, type SealedBinary } from "../seal/index.ts"

import { RegionStores } from "./region-stores.ts"
import { imageRegions } from "./regions.ts"

/** A sealed binary that has been read and measured, and the descriptor of its file, for the shield. */
export interface MeasuredFile {
  readonly sealed: SealedBinary
  readonly source: FileSource
  /** Of its regions with content of the image. */
  readonly stores: RegionStores
  /** Closes the binary and the stores. */
  close(): void
}

/** Opens the sealed binary in the root filesystem that the engine has made of an image. */
export function openSealedIn(root: string, sealedPath: string): MeasuredFile {
  // The tree comes from the adversary: a symlink or a device in it must not lead us to a file of the host.
  const directory = join(root, sealedPath, "..")
  if (!isRealDirectory(directory)) throw notProtected(root)
  try {
    const alone = openSealed(join(root, sealedPath), constants.O_NOFOLLOW)
    const names = imageRegions(alone.sealed.manifest).map(({ store }) => store)
    return withStores(alone, () => RegionStores.inRoot(root, names))
  } catch (error) {
    if (error instanceof CofferError && error.reason === "not-sealed") throw notProtected(root)
    throw error
  }
}

/** The same binary with its stores. On failure it is closed. */
export function withStores(file: MeasuredFile, open: () => RegionStores): MeasuredFile {
  try {
    return measuredFile(file.sealed, file.source, open())
  } catch (error) {
    file.close()
    throw error
  }
}

function measuredFile(
  sealed: SealedBinary,
  source: FileSource,
  stores: RegionStores,
): MeasuredFile {
  const close = () => {
    stores.close()
    source.close()
  }
  return { sealed, source, stores, close }
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
    return measuredFile(readSealed(source), source, RegionStores.none())
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
