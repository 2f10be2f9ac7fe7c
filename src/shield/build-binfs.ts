import { closeSync, openSync, readSync } from "node:fs"
import { openBinfs } from "../binfs/index.ts"
import { CofferError, fromSystem } from "../errors.ts"
import { type ByteSource, VerifiedSource } from "../verity/index.ts"
import { BinfsFileSystem } from "./binfs-file-system.ts"
import { TracedBinfs } from "./traced-binfs.ts"

/** A binary filesystem in a file: in a sealed binary, or an image with its hash tree behind it. */
export interface BinfsRequest {
  readonly kind: "binfs"
  readonly path: string
  /** Bytes, from a source that is trusted: the measured manifest, or what the user gave. */
  readonly dataOffset: number
  readonly dataSize: number
  readonly hashOffset: number
  /** 32 bytes. */
  readonly rootHash: Uint8Array
  /** Where to write what was used, for `protect --trace`. */
  readonly trace?: string
}

/** Opens it; each block is verified against the root hash on every read from the disk. */
export function buildBinfs(request: BinfsRequest): BinfsFileSystem {
  const fd = openFile(request.path)
  try {
    const source = new VerifiedSource(fileSource(fd, request.path), request)
    const reader = openBinfs(source)
    const close = (): void => closeSync(fd)
    return request.trace === undefined
      ? new BinfsFileSystem(reader, close)
      : new TracedBinfs(request.trace, reader, close)
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

function openFile(path: string): number {
  try {
    return openSync(path, "r")
  } catch (error) {
    throw fromSystem(error, path)
  }
}

function fileSource(fd: number, path: string): ByteSource {
  return {
    size: Number.MAX_SAFE_INTEGER,
    read(target, position) {
      for (let done = 0; done < target.length; ) {
        const count = readAt(fd, path, target, done, position + done)
        if (count === 0)
          throw new CofferError(
            "integrity",
            `${path}: wanted ${target.length} bytes at ${position}, found the end of the file`,
            { reason: "truncated", facts: { path, offset: position } },
          )
        done += count
      }
    },
  }
}

function readAt(
  fd: number,
  path: string,
  target: Uint8Array,
  at: number,
  position: number,
): number {
  try {
    return readSync(fd, target, at, target.length - at, position)
  } catch (error) {
    throw fromSystem(error, path)
  }
}
