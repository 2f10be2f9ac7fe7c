import { CofferError, fromSystem } from "../errors.ts"
import { type BlobStore, locate, type Unverified, wrongDigest } from "./blobs.ts"
import { type Descriptor, mediaTypes, shown } from "./documents.ts"
import type { Layer } from "./layout.ts"
import { type Compression, type Passed, passOver } from "./pass.ts"
import { openSpool, requireBelow, type Spool } from "./spool-file.ts"

/** Called with the bytes spooled since the last call. */
export type OnSpooled = (size: number) => void

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
  layer: Layer,
  onSpooled: OnSpooled,
  limit: number,
): Promise<Spool> {
  const { blob } = layer
  const stored = locate(store, blob, nameOf(layer))
  const found = await spool(stored, compressionOf(blob), nameOf(layer), onSpooled, limit)
  try {
    checkDigests(layer, found)
    return found.spool
  } catch (error) {
    found.spool.close()
    throw error
  }
}

/** For messages. */
export function nameOf({ blob }: Layer): string {
  return `layer ${blob.digest}`
}

/** Digest of the blob and diff id, against what a pass over its bytes found. */
export function checkDigests(layer: Layer, found: Pick<Passed, "digest" | "plainDigest">): void {
  const { blob, diffId } = layer
  // A docker archive names its layers by place, not by digest: there the diff id alone vouches for the bytes.
  const named = blob.digest.startsWith("sha256:")
  if (named && found.digest !== blob.digest)
    throw wrongDigest(nameOf(layer), blob.digest, found.digest)
  if (found.plainDigest !== diffId)
    throw wrongDigest(`${nameOf(layer)}, decompressed`, diffId, found.plainDigest)
}

export interface Spooled extends Passed {
  readonly spool: Spool
}

export async function spool(
  source: Unverified,
  compression: Compression,
  what: string,
  onSpooled: OnSpooled,
  limit = oneLimit(source.size),
): Promise<Spooled> {
  const target = openSpool(what)
  const most = Math.min(limit, oneLimit(source.size))
  const pass = passOver(source, compression, what, (piece) => {
    requireBelow(most, target.size + piece.length, what)
    target.write(piece)
    onSpooled(piece.length)
  })
  try {
    return { spool: target, ...(await inTurns(pass)) }
  } catch (error) {
    target.close()
    throw fromSystem(error, `${what}: spooling`)
  }
}

/** The event loop has a turn after so many bytes, so that a signal is heard in the middle of a large layer. */
const turnEvery = 1 << 25

/** Runs a pass in this thread. */
export async function inTurns(pass: Generator<number, Passed>): Promise<Passed> {
  let next = turnEvery
  for (let step = pass.next(); ; step = pass.next()) {
    if (step.done === true) return step.value
    if (step.value < next) continue
    next = step.value + turnEvery
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** Real layers stay far below a ratio of 200; what claims more is a bomb. */
export function oneLimit(storedSize: number): number {
  return Math.max(2 ** 30, 200 * storedSize)
}

/** For all layers of an image together: many small bombs fill a disk too. */
export function decompressedLimit(layers: readonly Layer[]): number {
  const sizes = new Map(layers.map(({ blob }) => [blob.digest, blob.size]))
  return Math.max(2 ** 32, 100 * [...sizes.values()].reduce((sum, size) => sum + size, 0))
}

/** A pipe, stored as it comes. */
export async function spoolStream(input: AsyncIterable<Uint8Array>, what: string): Promise<Spool> {
  const target = openSpool(what)
  try {
    for await (const chunk of input) {
      requireBelow(pipeLimit, target.size + chunk.length, what)
      target.write(chunk)
    }
    return target
  } catch (error) {
    target.close()
    throw fromSystem(error, `${what}: spooling`)
  }
}

/** 1 TiB: a pipe ends by itself, the disk ends before. */
const pipeLimit = 2 ** 40
