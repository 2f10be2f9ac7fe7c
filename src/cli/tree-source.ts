import { statSync } from "node:fs"
import { openBinfs } from "../binfs/index.ts"
import { isZero } from "../bytes/index.ts"
import { CofferError, fromSystem } from "../errors.ts"
import { compressionOfBytes, spool } from "../oci/index.ts"
import { looksSealed, openFile, openTree, readSealed } from "../seal/index.ts"
import { treeFromTar } from "../tar/index.ts"
import { type DirectoryNode, directorySource, type OnProgress } from "../tree/index.ts"
import type { ByteSource } from "../verity/index.ts"

/**
 * The tree that a path on this machine means: a directory, a tar (plain, gzip or zstd; decompressed into a file without
 * a name), a binary filesystem, or the one in a sealed binary (verified). It is good while `use` runs.
 */
export async function withTreeSource<T>(
  path: string,
  onProgress: OnProgress,
  use: (root: DirectoryNode) => T | Promise<T>,
): Promise<T> {
  if (isDirectory(path)) return await use(directorySource(path))
  const file = openFile(path)
  try {
    const start = new Uint8Array(Math.min(file.size, 0x5000))
    file.read(start, 0)
    if (looksSealed(start)) return await use(openTree(file, readSealed(file).manifest))
    if (isErofs(start)) return await use(openBinfs(imageOf(file, start)).root)
    const compression = compressionOfBytes(start)
    if (compression === "plain") return await use(plainTar(file, path, start))
    let done = 0
    const { spool: plain } = await spool(file, compression, path, (size) => {
      done += size
      onProgress(done, undefined)
    })
    try {
      return await use(treeFromTar(plain))
    } finally {
      plain.close()
    }
  } finally {
    file.close()
  }
}

/** What does not even begin as a tar is none, and not a damaged one. */
function plainTar(file: ByteSource, path: string, start: Uint8Array): DirectoryNode {
  try {
    return treeFromTar(file)
  } catch (error) {
    const atStart = error instanceof CofferError && error.facts["offset"] === 0
    const magic = Buffer.from(start).toString("latin1", 257, 262)
    if (!atStart || magic === "ustar" || isZero(start.subarray(0, 512))) throw error
    throw new CofferError(
      "config",
      `${path}: wanted a directory, a tar, or a binary filesystem, found something else`,
      { cause: error },
    )
  }
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch (error) {
    throw fromSystem(error, `open ${path}`)
  }
}

const superblockOffset = 1024

function isErofs(start: Uint8Array): boolean {
  return Buffer.from(start).toString("hex", superblockOffset, superblockOffset + 4) === "e2e1f5e0"
}

/** The image without the hash area behind it: the superblock says how long it is. */
function imageOf(file: ByteSource, start: Uint8Array): ByteSource {
  const size = Buffer.from(start).readUInt32LE(superblockOffset + 36) * 4096
  if (size === 0 || size > file.size)
    throw new CofferError(
      "integrity",
      `binary filesystem: wanted ${size} bytes, found ${file.size}`,
    )
  return { size, read: (target, position) => file.read(target, position) }
}
