import { Cursor, concatBytes, toHex } from "../../bytes/index.ts"
import { sha256, sha384, sha512 } from "../../crypto/index.ts"
import { CofferError } from "../../errors.ts"
import type { TpmHash } from "../claims.ts"

/** TPM 2.0 structures (TCG, Part 2), big-endian: what a quote, its signature and a key's public area look like. */

export const algorithms = {
  rsa: 0x0001,
  sha1: 0x0004,
  sha256: 0x000b,
  sha384: 0x000c,
  sha512: 0x000d,
  null: 0x0010,
  rsassa: 0x0014,
  rsapss: 0x0016,
  ecdsa: 0x0018,
  ecc: 0x0023,
} as const

export const hashNames: Readonly<Record<number, TpmHash>> = {
  [algorithms.sha1]: "sha1",
  [algorithms.sha256]: "sha256",
  [algorithms.sha384]: "sha384",
  [algorithms.sha512]: "sha512",
}

export const hashSizes: Readonly<Record<TpmHash, number>> = {
  sha1: 20,
  sha256: 32,
  sha384: 48,
  sha512: 64,
}

/** SHA-1 has no digest here: nothing that it hashed is believed. */
export function digestOf(hash: Exclude<TpmHash, "sha1">, data: Uint8Array): Uint8Array {
  if (hash === "sha256") return sha256(data)
  return hash === "sha384" ? sha384(data) : sha512(data)
}

export function readHash(cursor: Cursor, field: string): TpmHash {
  const id = cursor.u16Be(field)
  const name = hashNames[id]
  if (name === undefined) throw cursor.fault(field, "SHA-1, SHA-256, SHA-384 or SHA-512", hex16(id))
  return name
}

/** A TPM2B: a size, then bytes. */
export function sized(cursor: Cursor, field: string): Uint8Array {
  return cursor.bytes(cursor.u16Be(field), field)
}

function hex16(value: number): string {
  return `0x${value.toString(16).padStart(4, "0")}`
}

/** Which PCRs of one bank were quoted. */
export interface PcrSelection {
  readonly bank: TpmHash
  /** Ascending. */
  readonly indices: readonly number[]
}

export interface TpmQuote {
  readonly raw: Uint8Array
  readonly extraData: Uint8Array
  readonly clock: bigint
  readonly resetCount: number
  readonly restartCount: number
  readonly safe: boolean
  readonly firmwareVersion: bigint
  readonly selections: readonly PcrSelection[]
  readonly pcrDigest: Uint8Array
}

const generatedMagic = 0xff544347
const quoteType = 0x8018
const pcrCount = 24

/** A TPMS_ATTEST that is a quote. The magic is what only a TPM may sign: a restricted key refuses foreign data with it. */
export function parseTpmQuote(bytes: Uint8Array): TpmQuote {
  const cursor = new Cursor(bytes, "tpm quote")
  const magic = cursor.u32Be("magic")
  if (magic !== generatedMagic) throw cursor.fault("magic", "ff544347", magic.toString(16))
  const type = cursor.u16Be("type")
  if (type !== quoteType) throw cursor.fault("type", "8018 (quote)", hex16(type))
  sized(cursor, "qualifiedSigner")
  const extraData = sized(cursor, "extraData")
  const clock = cursor.u64Be("clock")
  const resetCount = cursor.u32Be("resetCount")
  const restartCount = cursor.u32Be("restartCount")
  const safe = cursor.u8("safe")
  if (safe > 1) throw cursor.fault("safe", "0 or 1", String(safe))
  const firmwareVersion = cursor.u64Be("firmwareVersion")
  const selections = readSelections(cursor)
  const pcrDigest = sized(cursor, "pcrDigest")
  cursor.end()
  return {
    raw: bytes,
    extraData,
    clock,
    resetCount,
    restartCount,
    safe: safe === 1,
    firmwareVersion,
    selections,
    pcrDigest,
  }
}

export function readSelections(cursor: Cursor): readonly PcrSelection[] {
  const count = cursor.u32Be("selection count")
  if (count > 16) throw cursor.fault("selection count", "at most 16", String(count))
  return Array.from({ length: count }, () => {
    const bank = readHash(cursor, "selection bank")
    const bitmap = cursor.bytes(cursor.u8("selection size"), "selection bitmap")
    const indices = Array.from({ length: bitmap.length * 8 }, (_, i) => i).filter(
      (i) => (((bitmap[i >> 3] ?? 0) >> (i & 7)) & 1) === 1,
    )
    if (indices.some((index) => index >= pcrCount))
      throw cursor.fault("selection bitmap", `PCRs below ${pcrCount}`, toHex(bitmap))
    return { bank, indices }
  })
}

export type TpmScheme = "rsassa" | "rsapss" | "ecdsa"

export interface TpmSignature {
  readonly scheme: TpmScheme
  readonly hash: TpmHash
  /** RSA: the signature. ECDSA: r and s, each as wide as the curve of 32 or 48 bytes that they fit. */
  readonly bytes: Uint8Array
}

/** A TPMT_SIGNATURE. */
export function parseTpmSignature(bytes: Uint8Array): TpmSignature {
  const cursor = new Cursor(bytes, "tpm signature")
  const id = cursor.u16Be("scheme")
  const hash = readHash(cursor, "hash")
  if (id === algorithms.rsassa || id === algorithms.rsapss) {
    const signature = sized(cursor, "signature")
    cursor.end()
    return { scheme: id === algorithms.rsassa ? "rsassa" : "rsapss", hash, bytes: signature }
  }
  if (id !== algorithms.ecdsa) throw cursor.fault("scheme", "RSASSA, RSAPSS or ECDSA", hex16(id))
  const r = sized(cursor, "r")
  const s = sized(cursor, "s")
  cursor.end()
  const width = Math.max(r.length, s.length) <= 32 ? 32 : 48
  return { scheme: "ecdsa", hash, bytes: concatBytes(wide(r, width), wide(s, width)) }
}

function wide(bytes: Uint8Array, width: number): Uint8Array {
  if (bytes.length > width)
    throw new CofferError(
      "integrity",
      `tpm signature: wanted at most ${width} bytes, found ${bytes.length}`,
    )
  const out = new Uint8Array(width)
  out.set(bytes, width - bytes.length)
  return out
}
