import { randomUUID } from "node:crypto"
import { closeSync, fsyncSync, openSync, renameSync, rmSync } from "node:fs"
import { dirname } from "node:path"
import { sha256 } from "../crypto/index.ts"
import { fromSystem } from "../errors.ts"
import { refuseOtherThanFile, writeSoon } from "../sys/index.ts"
import type { DirectoryNode, OnProgress } from "../tree/index.ts"
import { type ByteSource, hashAreaSize, VerifiedSource, verityLevels } from "../verity/index.ts"
import { blockSize, damaged, decodeSuperblock } from "./format.ts"
import { type WrittenBinfs, writeBinfs } from "./writer.ts"

/** Writes image and hash area to `path`. Atomic and durable: written beside, synced, renamed over what was there. */
export function createBinfsFile(
  root: DirectoryNode,
  path: string,
  onProgress: OnProgress = () => undefined,
): WrittenBinfs {
  const beside = `${path}.${randomUUID().slice(0, 8)}.tmp`
  try {
    refuseOtherThanFile(path)
    const fd = openSync(beside, "wx")
    try {
      const written = writeBinfs(root, fd, 0, { onProgress: syncAlong(fd, onProgress) })
      fsyncSync(fd)
      renameSync(beside, path)
      syncDirectory(dirname(path))
      return written
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    rmSync(beside, { force: true })
    throw fromSystem(error, `write ${path}`)
  }
}

const syncEvery = 64 * 1024 * 1024

/** Has the disk write what is there while the next bytes are made: the sync at the end then has little left. */
function syncAlong(fd: number, onProgress: OnProgress): OnProgress {
  let next = syncEvery
  return (done, total) => {
    onProgress(done, total)
    if (done < next) return
    next = done + syncEvery
    // Not fdatasync: it would be told of a failed write in place of the sync at the end, the one that counts.
    writeSoon(fd, 0, 0)
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

/** True when these first bytes of a file (2 KiB are enough) are those of an EROFS image. */
export function looksLikeBinfs(start: Uint8Array): boolean {
  return Buffer.from(start).toString("hex", 1024, 1028) === "e2e1f5e0"
}

export interface BinfsPlace {
  /** Bytes of the image. */
  readonly imageSize: number
  /** Bytes of the hash area behind it; undefined in a bare image. */
  readonly hashSize: number | undefined
}

/** What is where in a file that begins with an image: nothing behind it, or its hash area. */
export function locateBinfs(file: ByteSource): BinfsPlace {
  const block = new Uint8Array(blockSize)
  if (file.size < blockSize) throw damaged("size", "at least one block", `${file.size} bytes`)
  file.read(block, 0)
  const imageSize = decodeSuperblock(block).blockCount * blockSize
  const rest = file.size - imageSize
  const hashSize = imageSize === 0 ? 0 : hashAreaSize(imageSize / blockSize)
  if (imageSize === 0 || (rest !== 0 && rest !== hashSize)) {
    const wanted = `${imageSize} bytes, or ${imageSize + hashSize} with the hash area`
    throw damaged("size of the file", wanted, String(file.size))
  }
  return { imageSize, hashSize: rest === 0 && hashSize > 0 ? undefined : hashSize }
}

/** What the hash area itself says that the root hash is. It proves nothing: who can change the image can change it too. */
export function statedRootHash(file: ByteSource, { imageSize }: BinfsPlace): Uint8Array {
  const top = verityLevels(imageSize / blockSize).at(-1)
  const block = new Uint8Array(blockSize)
  file.read(block, top === undefined ? 0 : imageSize + top.firstBlock * blockSize)
  return sha256(block)
}

/** The image in such a file, each block verified on every read. The file has a hash area. */
export function verifiedImage(
  file: ByteSource,
  place: BinfsPlace,
  rootHash: Uint8Array,
): VerifiedSource {
  const { imageSize } = place
  return new VerifiedSource(file, { dataSize: imageSize, hashOffset: imageSize, rootHash })
}
