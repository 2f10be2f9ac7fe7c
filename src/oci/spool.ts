import { createHash, randomUUID } from "node:crypto"
import { closeSync, openSync, readSync, unlinkSync, writeSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Readable, type Transform } from "node:stream"
import { pipeline } from "node:stream/promises"
import { createGunzip, createZstdDecompress } from "node:zlib"
import { CofferError, fromSystem } from "../errors.ts"
import { scratchError } from "../sys/index.ts"
import { type BlobStore, locate, piecesOf, type Unverified, wrongDigest } from "./blobs.ts"
import { type Descriptor, mediaTypes, shown } from "./documents.ts"
import type { LayerCache } from "./layer-cache.ts"
import type { Layer } from "./layout.ts"

/** A file without a name, gone when it is closed. */
export interface Spool {
  readonly fd: number
  readonly size: number
  read(target: Uint8Array, position: number): void
  close(): void
}

/** Called with the bytes spooled since the last call. */
export type OnSpooled = (size: number) => void

export type Compression = "plain" | "gzip" | "zstd"

export function compressionOf(layer: Descriptor): Compression {
  const among = (types: readonly string[]) => types.includes(layer.mediaType)
  if (among(mediaTypes.layerPlain)) return "plain"
  if (among(mediaTypes.layerGzip)) return "gzip"
  if (among(mediaTypes.layerZstd)) return "zstd"
  throw new CofferError(
    "config",
    `layer ${layer.digest}: wanted a tar, plain, gzip or zstd, found media type ${shown(layer.mediaType)}`,
    {
      hint: "encrypted or foreign layers must be converted first, for example with skopeo copy",
    },
  )
}

/** By the first bytes, for archives that do not say. */
export function compressionOfBytes(head: Uint8Array): Compression {
  if (head[0] === 0x1f && head[1] === 0x8b) return "gzip"
  if (head[0] === 0x28 && head[1] === 0xb5 && head[2] === 0x2f && head[3] === 0xfd) return "zstd"
  return "plain"
}

/**
 * Decompresses a layer into a spool while it checks the size and digest of the blob and, after decompression, the diff id.
 * The adversary's disk may answer a second read differently: from here on only the spool is read.
 */
export async function spoolLayer(
  store: BlobStore,
  { blob: layer, diffId }: Layer,
  onSpooled: OnSpooled,
  limit: number,
): Promise<Spool> {
  const what = `layer ${layer.digest}`
  const stored = locate(store, layer, what)
  const found = await spool(stored, compressionOf(layer), what, onSpooled, limit)
  try {
    // A docker archive names its layers by place, not by digest: there the diff id alone vouches for the bytes.
    const named = layer.digest.startsWith("sha256:")
    if (named && found.digest !== layer.digest) {
      throw wrongDigest(what, layer.digest, found.digest)
    }
    if (found.plainDigest !== diffId)
      throw wrongDigest(`${what}, decompressed`, diffId, found.plainDigest)
    return found.spool
  } catch (error) {
    found.spool.close()
    throw error
  }
}

export type SpoolArguments = Parameters<typeof spoolLayer>

/** The same, from the cache when it has the layer; one that had to be decompressed goes into it. */
export async function cachedLayer(
  cache: LayerCache | undefined,
  store: BlobStore,
  layer: Layer,
  onSpooled: OnSpooled,
  limit: number,
): Promise<Spool> {
  const wanted = cache !== undefined && compressionOf(layer.blob) !== "plain" ? cache : undefined
  const known = wanted?.find(layer.diffId, onSpooled)
  if (known !== undefined) return known
  const made = await spoolLayer(store, layer, onSpooled, limit)
  wanted?.keep(layer.diffId, made)
  return made
}

/** A layer that can be read, and perhaps where. */
export type PlacedLayer = Pick<Spool, "size" | "read" | "close"> & { readonly fd?: number }

/**
 * A layer that is stored as a plain tar, where it lies: its digest is checked once, and nothing is copied. The disk may
 * answer the second read differently, so this is only for content that is verified again when it is read. Any other
 * layer is spooled.
 */
export async function layerInPlace(
  store: BlobStore,
  { blob: layer, diffId }: Layer,
  onRead: OnSpooled,
  limit: number,
): Promise<PlacedLayer> {
  if (compressionOf(layer) !== "plain")
    return await spoolLayer(store, { blob: layer, diffId }, onRead, limit)
  const what = `layer ${layer.digest}`
  const stored = locate(store, layer, what)
  const hash = createHash("sha256")
  for (const piece of piecesOf(stored)) {
    hash.update(piece)
    onRead(piece.length)
  }
  const digest = hexDigest(hash)
  for (const want of [layer.digest, diffId])
    if (want.startsWith("sha256:") && want !== digest) throw wrongDigest(what, want, digest)
  const read: Spool["read"] = (target, position) => stored.read(target, position)
  const where = stored.fd === undefined ? {} : { fd: stored.fd }
  return { ...where, size: stored.size, read, close: () => undefined }
}

export interface Spooled {
  readonly spool: Spool
  /** Of the bytes as stored. */
  readonly digest: string
  /** Of the bytes after decompression: the diff id. */
  readonly plainDigest: string
}

export async function spool(
  source: Unverified,
  compression: Compression,
  what: string,
  onSpooled: OnSpooled,
  limit = oneLimit(source.size),
): Promise<Spooled> {
  const stored = createHash("sha256")
  // What is not compressed has one digest.
  const plain = compression === "plain" ? undefined : createHash("sha256")
  const target = new SpoolWriter(Math.min(limit, oneLimit(source.size)), what)
  const pieces = function* () {
    for (const piece of piecesOf(source)) {
      stored.update(piece)
      yield piece
    }
  }
  try {
    await pipeline(
      Readable.from(pieces()),
      ...decompressor(compression),
      async (chunks: AsyncIterable<Uint8Array>) => {
        for await (const chunk of chunks) {
          plain?.update(chunk)
          target.write(chunk)
          onSpooled(chunk.length)
        }
      },
    )
  } catch (error) {
    target.close()
    throw spoolError(error, what)
  }
  const digest = hexDigest(stored)
  const plainDigest = plain === undefined ? digest : hexDigest(plain)
  return { spool: target, digest, plainDigest }
}

function hexDigest(hash: ReturnType<typeof createHash>): string {
  return `sha256:${hash.digest("hex")}`
}

function spoolError(error: unknown, what: string): Error {
  if (error instanceof CofferError) return error
  if (error instanceof Error && "code" in error && /^(Z_|ZSTD_|ERR_)/.test(String(error.code))) {
    return new CofferError(
      "integrity",
      `${what}: wanted whole compressed data, found it damaged or cut`,
      { cause: error },
    )
  }
  return fromSystem(error, `${what}: spooling`)
}

function decompressor(compression: Compression): Transform[] {
  switch (compression) {
    case "plain":
      return []
    case "gzip":
      return [createGunzip({ chunkSize: 1 << 18 })]
    case "zstd":
      return [createZstdDecompress({ chunkSize: 1 << 18 })]
  }
}

/** Real layers stay far below a ratio of 200; what claims more is a bomb. */
function oneLimit(storedSize: number): number {
  return Math.max(2 ** 30, 200 * storedSize)
}

/** For all layers of an image together: many small bombs fill a disk too. */
export function decompressedLimit(layers: readonly Layer[]): number {
  const sizes = new Map(layers.map(({ blob }) => [blob.digest, blob.size]))
  return Math.max(2 ** 32, 100 * [...sizes.values()].reduce((sum, size) => sum + size, 0))
}

/** A pipe, stored as it comes. */
export async function spoolStream(input: AsyncIterable<Uint8Array>, what: string): Promise<Spool> {
  const target = new SpoolWriter(pipeLimit, what)
  try {
    for await (const chunk of input) target.write(chunk)
    return target
  } catch (error) {
    target.close()
    throw spoolError(error, what)
  }
}

/** 1 TiB: a pipe ends by itself, the disk ends before. */
const pipeLimit = 2 ** 40

function unnamedFile(what: string): number {
  const path = join(tmpdir(), `coffer-spool-${randomUUID()}`)
  try {
    const fd = openSync(path, "wx+", 0o600)
    unlinkSync(path)
    return fd
  } catch (error) {
    throw scratchError(error, `${what}: temporary file`)
  }
}

class SpoolWriter implements Spool {
  readonly fd: number
  size = 0
  readonly #limit: number
  readonly #what: string

  constructor(limit: number, what: string) {
    this.fd = unnamedFile(what)
    this.#limit = limit
    this.#what = what
  }

  write(chunk: Uint8Array): void {
    if (this.size + chunk.length > this.#limit) {
      throw new CofferError(
        "config",
        `${this.#what}: wanted at most ${this.#limit} bytes after decompression, found more`,
        {
          hint: "this looks like a decompression bomb; a real layer of that size must come less compressed",
        },
      )
    }
    try {
      for (let at = 0; at < chunk.length; ) {
        at += writeSync(this.fd, chunk, at, chunk.length - at, this.size + at)
      }
    } catch (error) {
      throw scratchError(error, `${this.#what}: temporary file`)
    }
    this.size += chunk.length
  }

  read(target: Uint8Array, position: number): void {
    if (position < 0 || position + target.length > this.size)
      throw new TypeError("read past the end of the spool")
    for (let at = 0; at < target.length; ) {
      const count = readSync(this.fd, target, at, target.length - at, position + at)
      if (count === 0) throw new CofferError("io", `${this.#what}: the temporary file was cut`)
      at += count
    }
  }

  close(): void {
    closeSync(this.fd)
  }
}
