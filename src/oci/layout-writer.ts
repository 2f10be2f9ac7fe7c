import { createHash, randomUUID } from "node:crypto"
import {
  closeSync,
  existsSync,
  fchmodSync,
  fsync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs"
import { join } from "node:path"
import { promisify } from "node:util"
import { canonicalJson, type JsonValue, utf8 } from "../bytes/index.ts"
import { fromSystem } from "../errors.ts"
import { type Descriptor, parseImageIndex } from "./documents.ts"
import { checkLayoutVersion } from "./layout.ts"

/** Takes the bytes of one blob, in order. */
export type BlobSink = (chunk: Uint8Array) => void

/**
 * Writes an OCI layout directory, new or with images in it. Blobs are written beside their place, synced and renamed to their digest; the index is
 * replaced last, so that a reader sees the old image or the whole new one. Same blobs, same layout, bit for bit.
 */
export class LayoutWriter {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
    try {
      mkdirSync(join(directory, "blobs", "sha256"), { recursive: true })
    } catch (error) {
      throw fromSystem(error, `image layout ${directory}`)
    }
    const marker = join(directory, "oci-layout")
    if (existsSync(marker)) checkLayoutVersion(readFileSync(marker), directory)
    else replaceFile(marker, utf8('{"imageLayoutVersion":"1.0.0"}'))
  }

  addDocument(mediaType: string, value: JsonValue): Descriptor {
    const bytes = canonicalJson(value)
    return this.addBlob(mediaType, (sink) => sink(bytes))
  }

  /** `produce` calls the sink for each part of the blob. A blob that is there already is not written again. */
  addBlob(mediaType: string, produce: (sink: BlobSink) => void): Descriptor {
    const beside = join(this.#directory, "blobs", `.new-${randomUUID()}`)
    const hash = createHash("sha256")
    let size = 0
    try {
      const fd = openSync(beside, "wx", 0o644)
      try {
        produce((chunk) => {
          hash.update(chunk)
          for (let at = 0; at < chunk.length; ) at += writeSync(fd, chunk, at)
          size += chunk.length
        })
        fsyncSync(fd)
      } finally {
        closeSync(fd)
      }
      const hex = hash.digest("hex")
      renameSync(beside, join(this.#directory, "blobs", "sha256", hex))
      return { mediaType, digest: `sha256:${hex}`, size }
    } catch (error) {
      rmSync(beside, { force: true })
      throw fromSystem(error, `image layout ${this.#directory}: writing a blob`)
    }
  }

  /** The same for a blob that `fill` makes as a file at the path that it gets, and which it does not sync. */
  async addFile(mediaType: string, fill: (path: string) => void): Promise<Descriptor> {
    const beside = join(this.#directory, "blobs", `.new-${randomUUID()}`)
    try {
      fill(beside)
      const fd = openSync(beside, "r")
      try {
        fchmodSync(fd, 0o644)
        // The disk writes while we hash.
        const synced = fsyncSoon(fd)
        const { hex, size } = hashOf(fd)
        await synced
        renameSync(beside, join(this.#directory, "blobs", "sha256", hex))
        return { mediaType, digest: `sha256:${hex}`, size }
      } finally {
        closeSync(fd)
      }
    } catch (error) {
      rmSync(beside, { force: true })
      throw fromSystem(error, `image layout ${this.#directory}: writing a blob`)
    }
  }

  /** Makes the image visible under `tag`, in the place of one that had this tag. */
  finish(manifest: Descriptor, tag: string): void {
    const name = "org.opencontainers.image.ref.name"
    const others = this.#entries().filter((entry) => entry.annotations?.[name] !== tag)
    const entry = { ...manifest, annotations: { ...manifest.annotations, [name]: tag } }
    const index = {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: [...others, entry],
    }
    syncDirectory(join(this.#directory, "blobs", "sha256"))
    replaceFile(join(this.#directory, "index.json"), canonicalJson(index))
    syncDirectory(this.#directory)
  }

  #entries(): readonly Descriptor[] {
    const path = join(this.#directory, "index.json")
    return existsSync(path) ? parseImageIndex(readFileSync(path)).manifests : []
  }
}

const fsyncSoon = promisify(fsync)

function hashOf(fd: number): { readonly hex: string; readonly size: number } {
  const hash = createHash("sha256")
  const piece = new Uint8Array(1 << 20)
  let size = 0
  for (let count = readSync(fd, piece, 0, piece.length, 0); count > 0; ) {
    hash.update(piece.subarray(0, count))
    size += count
    count = readSync(fd, piece, 0, piece.length, size)
  }
  return { hex: hash.digest("hex"), size }
}

function replaceFile(path: string, bytes: Uint8Array): void {
  const beside = `${path}.new-${randomUUID()}`
  try {
    const fd = openSync(beside, "wx", 0o644)
    try {
      writeSync(fd, bytes)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    renameSync(beside, path)
  } catch (error) {
    rmSync(beside, { force: true })
    throw fromSystem(error, path)
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
