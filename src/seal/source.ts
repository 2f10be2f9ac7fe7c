import { closeSync, fstatSync, openSync, readSync } from "node:fs"
import { CofferError, fromSystem } from "../errors.ts"
import type { ByteSource } from "../verity/index.ts"

export interface FileSource extends ByteSource {
  readonly fd: number
  close(): void
}

/** Size and bytes of an open descriptor. */
function sourceOfFd(fd: number, size: number, name: string): ByteSource {
  return {
    size,
    read(target, position) {
      let done = 0
      while (done < target.length) {
        const count = readPiece(fd, target, done, position + done, name)
        if (count === 0)
          throw new CofferError(
            "integrity",
            `${name}: wanted ${target.length} bytes at ${position}, found ${done}`,
            { reason: "truncated" },
          )
        done += count
      }
    },
  }
}

function readPiece(
  fd: number,
  target: Uint8Array,
  at: number,
  position: number,
  name: string,
): number {
  try {
    return readSync(fd, target, at, target.length - at, position)
  } catch (error) {
    throw fromSystem(error, `read ${name}`)
  }
}

/** Opens a file for reading. Close it. */
export function openFile(path: string): FileSource {
  let fd: number
  try {
    fd = openSync(path, "r")
  } catch (error) {
    throw fromSystem(error, `open ${path}`)
  }
  const stat = fstatSync(fd)
  if (!stat.isDirectory())
    return { ...sourceOfFd(fd, stat.size, path), fd, close: () => closeSync(fd) }
  closeSync(fd)
  throw new CofferError("config", `${path}: wanted a file, found a directory`)
}

/** A part of a file as a file of its own. */
export function windowOf(source: ByteSource, offset: number, size: number): ByteSource {
  return { size, read: (target, position) => source.read(target, offset + position) }
}

export function sourceOfBytes(bytes: Uint8Array): ByteSource {
  return {
    size: bytes.length,
    read(target, position) {
      if (position + target.length > bytes.length)
        throw new CofferError(
          "integrity",
          `wanted ${target.length} bytes at ${position}, found the end`,
        )
      target.set(bytes.subarray(position, position + target.length))
    },
  }
}
