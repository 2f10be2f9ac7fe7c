// Hot path: every byte of every layer goes through here, in the workers and in the main thread. It imports little, so that a
// worker starts quickly.
import { createHash } from "node:crypto"
import { CofferError } from "../errors.ts"
import { DamagedDataError, openDecompressor } from "../sys/index.ts"
import type { TarSource } from "../tar/index.ts"

export type Compression = "plain" | "gzip" | "zstd"

/** What was found in one pass over a layer; digests as descriptors have them. */
export interface Passed {
  /** Of the bytes as stored. */
  readonly digest: string
  /** Of the bytes after decompression: the diff id. */
  readonly plainDigest: string
  /** Bytes after decompression. */
  readonly size: number
}

/** Gets the bytes after decompression, in order; each piece is good during the call. */
export type OnPlain = (piece: Uint8Array) => void

/** Fits the processor's cache: a piece is read, hashed and written while it is there. */
const pieceSize = 1 << 18

/**
 * Reads all of a source once, and gives out what it hashes. Yields the bytes so far after each piece, so that whoever has
 * other things to do can turn to them.
 */
export function passOver(
  source: TarSource,
  compression: Compression,
  what: string,
  onPlain: OnPlain,
): Generator<number, Passed> {
  return compression === "plain"
    ? passPlain(source, onPlain)
    : passCompressed(source, compression, what, onPlain)
}

function* passPlain(source: TarSource, onPlain: OnPlain): Generator<number, Passed> {
  const hash = createHash("sha256")
  const buffer = new Uint8Array(pieceSize)
  let size = 0
  while (size < source.size) {
    const piece = buffer.subarray(0, Math.min(pieceSize, source.size - size))
    source.read(piece, size)
    hash.update(piece)
    onPlain(piece)
    size += piece.length
    yield size
  }
  // What is not compressed has one digest.
  const digest = hexDigest(hash)
  return { digest, plainDigest: digest, size }
}

function* passCompressed(
  source: TarSource,
  format: "gzip" | "zstd",
  what: string,
  onPlain: OnPlain,
): Generator<number, Passed> {
  const [stored, plain] = [createHash("sha256"), createHash("sha256")]
  const stream = openDecompressor(format)
  let size = 0
  try {
    for (let at = 0; at < source.size; ) {
      const piece = stream.input.subarray(0, Math.min(stream.input.length, source.size - at))
      source.read(piece, at)
      stored.update(piece)
      stream.give(piece.length)
      at += piece.length
      for (let out = stream.take(); out.length > 0; out = stream.take()) {
        plain.update(out)
        onPlain(out)
        size += out.length
        yield size
      }
    }
    if (!stream.isWhole()) throw damaged(what)
  } catch (error) {
    throw error instanceof DamagedDataError ? damaged(what, error) : error
  } finally {
    stream.close()
  }
  return { digest: hexDigest(stored), plainDigest: hexDigest(plain), size }
}

function damaged(what: string, cause?: unknown): CofferError {
  return new CofferError(
    "integrity",
    `${what}: wanted whole compressed data, found it damaged or cut`,
    { cause },
  )
}

function hexDigest(hash: ReturnType<typeof createHash>): string {
  return `sha256:${hash.digest("hex")}`
}
