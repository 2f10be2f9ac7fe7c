import { randomUUID } from "node:crypto"
import {
  closeSync,
  constants,
  copyFileSync,
  fchmodSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs"
import { dirname } from "node:path"
import type { WrittenBinfs } from "../binfs/index.ts"
import { toHex } from "../bytes/index.ts"
import { CofferError, fromSystem } from "../errors.ts"
import type { ManifestDraft, MeasuredManifest } from "../manifest/index.ts"
import { refuseOtherThanFile } from "../sys/index.ts"
import { binfsOffsetOf, checkGeometry, emitSealedHead, manifestPages, stubPage } from "./layout.ts"
import { measurePages } from "./measure.ts"

export interface WrittenBinary {
  readonly manifest: MeasuredManifest
  readonly mrEnclave: Uint8Array
  /** Bytes of the file. */
  readonly size: number
}

/** Writes image and hash tree into `fd` from `offset` on: `writeBinfs`, with a tree and options. */
export type WriteImage = (fd: number, offset: number) => Omit<WrittenBinfs, "inodeCount">

/** Where in a file a sealed binary is made. */
export interface SealedPlace {
  /** Bytes before it, which the caller fills. */
  readonly offset: number
  /** False: the file is the caller's scratch, who syncs it when it is whole. */
  readonly durable: boolean
}

const ownFile: SealedPlace = { offset: 0, durable: true }

/** Makes a sealed binary, unsigned. Atomic: written beside, synced, then renamed to `path`. The same input gives the same bytes. */
export function writeSealed(
  path: string,
  draft: ManifestDraft,
  writeImage: WriteImage,
  place: SealedPlace = ownFile,
): WrittenBinary {
  return replaceFile(path, undefined, place.durable, (fd) => {
    const offset = binfsOffsetOf(draft)
    const { imageSize, hashSize, rootHash } = writeImage(fd, place.offset + offset)
    const manifest: MeasuredManifest = {
      ...draft,
      binfs: { offset, size: imageSize },
      verity: { offset: offset + imageSize, size: hashSize, rootHash: toHex(rootHash) },
    }
    const mrEnclave = measurePages(stubPage(manifest.arch), manifestPages(manifest))
    const size = checkGeometry(manifest)
    writeAll(fd, emitSealedHead(manifest, toHex(mrEnclave), undefined), place.offset)
    ftruncateSync(fd, place.offset + size)
    return { manifest, mrEnclave, size }
  })
}

/** Puts another head on a copy of the binary (a reflink where the filesystem has them), then renames it over the old one. */
export function replaceHead(path: string, head: Uint8Array): void {
  replaceFile(path, path, true, (fd) => writeAll(fd, head, 0))
}

function replaceFile<T>(
  path: string,
  copyOf: string | undefined,
  durable: boolean,
  fill: (fd: number) => T,
): T {
  const beside = `${path}.${randomUUID().slice(0, 8)}.tmp`
  try {
    refuseOtherThanFile(path)
    if (copyOf !== undefined)
      copyFileSync(copyOf, beside, constants.COPYFILE_EXCL + constants.COPYFILE_FICLONE)
    const fd = openSync(beside, copyOf === undefined ? "wx+" : "r+")
    try {
      const result = fill(fd)
      if (copyOf === undefined) fchmodSync(fd, 0o755)
      if (durable) fsyncSync(fd)
      renameSync(beside, path)
      if (durable) syncDirectory(dirname(path))
      return result
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    rmSync(beside, { force: true })
    throw fromSystem(error, `write ${path}`)
  }
}

function syncDirectory(path: string): void {
  const fd = openSync(path, "r")
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

export function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  let done = 0
  while (done < bytes.length) {
    const count = writeSync(fd, bytes, done, bytes.length - done, position + done)
    if (count === 0) throw new CofferError("io", "wanted to write, and the disk took nothing")
    done += count
  }
}
