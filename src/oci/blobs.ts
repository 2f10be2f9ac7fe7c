import { createHash } from "node:crypto"
import { closeSync, constants, createReadStream, fstatSync, openSync, readSync } from "node:fs"
import { join } from "node:path"
import { CofferError, fromSystem } from "../errors.ts"
import type { Descriptor } from "./documents.ts"

/** A range of an open file, whose bytes nobody has vouched for yet. */
export interface ByteRange {
  readonly fd: number
  readonly offset: number
  readonly size: number
}

/**
 * Where the blobs of an image lie. `find` gives the bytes that claim to be the blob; only `readBlob` and `spoolLayer`,
 * which check them, look inside. The caller closes the store.
 */
export interface BlobStore {
  find(digest: string): ByteRange | undefined
  close(): void
}

/** Documents are small; a larger one is an attack on our memory. */
const documentLimit = 4 << 20

/** The whole blob, after its size and digest were checked. For documents only: at most 4 MiB. */
export function readBlob(store: BlobStore, blob: Descriptor, what: string): Uint8Array {
  const range = locate(store, blob, what)
  if (blob.size > documentLimit) {
    throw new CofferError(
      "config",
      `${what}: wanted at most ${documentLimit} bytes, found ${blob.size}`,
    )
  }
  const bytes = readRange(range)
  const found = `sha256:${createHash("sha256").update(bytes).digest("hex")}`
  if (found !== blob.digest) throw wrongDigest(what, blob.digest, found)
  return bytes
}

/** The range of a blob whose size is what its descriptor says; its digest is still to be checked. */
export function locate(store: BlobStore, blob: Descriptor, what: string): ByteRange {
  const range = store.find(blob.digest)
  if (range === undefined) {
    throw new CofferError(
      "missing",
      `${what}: wanted blob ${blob.digest}, found none in the image`,
      {
        hint: "the image is incomplete: copy it again, with all layers",
      },
    )
  }
  if (range.size !== blob.size) {
    throw new CofferError(
      "integrity",
      `${what}: blob ${blob.digest}: wanted ${blob.size} bytes, found ${range.size}`,
    )
  }
  return range
}

export function wrongDigest(what: string, want: string, have: string): CofferError {
  return new CofferError("integrity", `${what}: wanted digest ${want}, found ${have}`, {
    hint: "the blob was changed or damaged since the image was made: copy the image again from where you trust it",
  })
}

/** All of a range. Fails with `io` when the file is shorter. */
export function readRange(range: ByteRange): Uint8Array {
  const bytes = new Uint8Array(range.size)
  for (let at = 0; at < range.size; ) {
    const count = readSync(range.fd, bytes, at, range.size - at, range.offset + at)
    if (count === 0)
      throw new CofferError("io", `the image ends early: wanted ${range.size} bytes, found ${at}`)
    at += count
  }
  return bytes
}

export function streamRange(range: ByteRange): NodeJS.ReadableStream {
  const { fd, offset, size } = range
  return createReadStream("", {
    fd,
    start: offset,
    end: offset + size - 1,
    autoClose: false,
    highWaterMark: 1 << 20,
  })
}

/** The blobs of a layout directory: `blobs/sha256/HEX`. */
export function directoryBlobs(directory: string): BlobStore {
  const open = new Map<string, ByteRange>()
  return {
    find(digest) {
      const known = open.get(digest)
      if (known !== undefined) return known
      const range = openRegular(join(directory, "blobs", ...digest.split(":")))
      if (range !== undefined) open.set(digest, range)
      return range
    },
    close() {
      for (const { fd } of open.values()) closeSync(fd)
      open.clear()
    },
  }
}

/** The file as one range; undefined when it is not there. What is no regular file (a fifo would block us for ever) is refused. */
export function openRegular(path: string): ByteRange | undefined {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    const known = fromSystem(error, path)
    if (known instanceof CofferError && known.code === "missing") return undefined
    throw known
  }
  const stat = fstatSync(fd)
  if (stat.isFile()) return { fd, offset: 0, size: stat.size }
  closeSync(fd)
  throw new CofferError("config", `${path}: wanted a regular file, found something else`)
}
