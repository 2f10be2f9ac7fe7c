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
import { toHex } from "../bytes/index.ts"
import { CofferError, fromSystem } from "../errors.ts"
import type { ManifestDraft, MeasuredManifest } from "../manifest/index.ts"
import { blockSize, hashAreaSize } from "../verity/index.ts"
import { binfsOffsetOf, emitSealedHead, manifestPages, stubPage } from "./layout.ts"
import { measurePages } from "./measure.ts"

/** What stands behind the head. Sizes in bytes; the hash tree follows the image at once. */
export interface WrittenImage {
  readonly size: number
  readonly treeSize: number
  /** 64 hex digits. */
  readonly rootHash: string
}

/** Writes image and hash tree into `fd` from `offset` on. */
export type WriteImage = (fd: number, offset: number) => Promise<WrittenImage>

export interface WrittenBinary {
  readonly manifest: MeasuredManifest
  readonly mrEnclave: Uint8Array
  /** Bytes of the file. */
  readonly size: number
}

/** Makes a sealed binary, unsigned. Atomic: written beside, synced, then renamed to `path`. The same input gives the same bytes. */
export function writeSealed(
  path: string,
  draft: ManifestDraft,
  writeImage: WriteImage,
): Promise<WrittenBinary> {
  return replaceFile(path, undefined, async (fd) => {
    const offset = binfsOffsetOf(draft)
    const image = await writeImage(fd, offset)
    const { size, treeSize, rootHash } = image
    if (treeSize !== hashAreaSize(size / blockSize))
      throw new TypeError(`a tree over ${size} bytes has not ${treeSize}`)
    const manifest: MeasuredManifest = {
      ...draft,
      binfs: { offset, size },
      verity: { offset: offset + size, size: treeSize, rootHash },
    }
    const mrEnclave = measurePages(stubPage(manifest.arch), manifestPages(manifest))
    writeAll(fd, emitSealedHead(manifest, toHex(mrEnclave), undefined), 0)
    const end = offset + size + treeSize
    ftruncateSync(fd, end)
    return { manifest, mrEnclave, size: end }
  })
}

/** Puts another head on a copy of the binary (a reflink where the filesystem has them), then renames it over the old one. */
export function replaceHead(path: string, head: Uint8Array): Promise<void> {
  return replaceFile(path, path, (fd) => {
    writeAll(fd, head, 0)
    return Promise.resolve()
  })
}

async function replaceFile<T>(
  path: string,
  copyOf: string | undefined,
  fill: (fd: number) => Promise<T>,
): Promise<T> {
  const beside = `${path}.${randomUUID().slice(0, 8)}.tmp`
  try {
    if (copyOf !== undefined)
      copyFileSync(copyOf, beside, constants.COPYFILE_EXCL + constants.COPYFILE_FICLONE)
    const fd = openSync(beside, copyOf === undefined ? "wx+" : "r+")
    try {
      const result = await fill(fd)
      if (copyOf === undefined) fchmodSync(fd, 0o755)
      fsyncSync(fd)
      renameSync(beside, path)
      syncDirectory(dirname(path))
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
