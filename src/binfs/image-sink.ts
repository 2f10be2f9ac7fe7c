// Hot path: every byte of an image is written here.
import { writeSync } from "node:fs"
import type { BlockSink, RingMemory } from "../verity/index.ts"

/** What a worker gets that hashes and writes an image. */
export interface ImageWorkerData {
  readonly memory: RingMemory
  readonly fd: number
  /** Where the image begins in the file; bytes. */
  readonly offset: number
}

const blockSize = 4096

/** Writes blocks to their places in an image that begins at `offset` of the file. */
export function sinkTo(fd: number, offset: number): BlockSink {
  return (blocks, firstBlock) => writeAll(fd, blocks, offset + firstBlock * blockSize)
}

/** Writes all of `bytes` at `position`. */
export function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  for (let at = 0; at < bytes.length; )
    at += writeSync(fd, bytes, at, bytes.length - at, position + at)
}
