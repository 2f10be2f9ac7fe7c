import { createHash } from "node:crypto"
import { closeSync, constants, fstatSync, openSync } from "node:fs"
import { join } from "node:path"
import { CofferError, fromSystem } from "../errors.ts"
import { type TarSource, tarSourceOfFile } from "../tar/index.ts"
import type { Content } from "../tree/index.ts"
import type { Descriptor } from "./documents.ts"

/** Bytes that nobody has vouched for yet. */
export type Unverified = TarSource & Pick<Content, "place">

/**
 * Where the blobs of an image lie. `find` gives the bytes that claim to be the blob; only `readBlob` and `spoolLayer`,
 * which check them, look inside. The caller closes the store.
 */
export interface BlobStore {
  find(digest: string): Unverified | undefined
  close(): void
}

/** Documents are small; a larger one is an attack on our memory. */
const documentLimit = 4 << 20

/** The whole blob, after its size and digest were checked. For documents only: at most 4 MiB. */
export function readBlob(store: BlobStore, blob: Descriptor, what: string): Uint8Array {
  const found = locate(store, blob, what)
  const bytes = readSmall(found, what)
  const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`
  if (digest !== blob.digest) throw wrongDigest(what, blob.digest, digest)
  return bytes
}

/** The bytes of a blob whose size is what its descriptor says; its digest is still to be checked. */
export function locate(store: BlobStore, blob: Descriptor, what: string): Unverified {
  const found = store.find(blob.digest)
  if (found === undefined) {
    throw new CofferError(
      "missing",
      `${what}: wanted blob ${blob.digest}, found none in the image`,
      {
        hint: "the image is incomplete: copy it again, with all layers",
      },
    )
  }
  if (found.size !== blob.size) {
    throw new CofferError(
      "integrity",
      `${what}: blob ${blob.digest}: wanted ${blob.size} bytes, found ${found.size}`,
    )
  }
  return found
}

export function wrongDigest(what: string, want: string, have: string): CofferError {
  return new CofferError("integrity", `${what}: wanted digest ${want}, found ${have}`, {
    hint: "the blob was changed or damaged since the image was made: copy the image again from where you trust it",
  })
}

function readAll(source: Unverified): Uint8Array {
  const bytes = new Uint8Array(source.size)
  source.read(bytes, 0)
  return bytes
}

/** A document that no digest vouches for: the entry points of a store. At most 4 MiB. */
export function readSmall(source: Unverified, what: string): Uint8Array {
  if (source.size <= documentLimit) return readAll(source)
  throw new CofferError(
    "config",
    `${what}: wanted at most ${documentLimit} bytes, found ${source.size}`,
  )
}

/** The blobs of a layout directory: `blobs/sha256/HEX`. */
export function directoryBlobs(directory: string): BlobStore {
  const open = new Map<string, OpenFile>()
  return {
    find(digest) {
      const file = open.get(digest) ?? openRegular(join(directory, "blobs", ...digest.split(":")))
      if (file !== undefined) open.set(digest, file)
      return file?.source
    },
    close() {
      for (const { fd } of open.values()) closeSync(fd)
      open.clear()
    },
  }
}

export interface OpenFile {
  readonly fd: number
  readonly source: Unverified
}

/** Undefined when it is not there. What is no regular file (a fifo would block us for ever) is refused. */
export function openRegular(path: string): OpenFile | undefined {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    const known = fromSystem(error, path)
    if (known instanceof CofferError && known.code === "missing") return undefined
    throw known
  }
  if (fstatSync(fd).isFile()) return { fd, source: tarSourceOfFile(fd) }
  closeSync(fd)
  throw new CofferError("config", `${path}: wanted a regular file, found something else`)
}
