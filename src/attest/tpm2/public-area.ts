import { createPublicKey, type KeyObject } from "node:crypto"
import { Cursor, concatBytes, toHex } from "../../bytes/index.ts"
import { sha256 } from "../../crypto/index.ts"
import { CofferError } from "../../errors.ts"
import type { TpmHash } from "../claims.ts"
import { algorithms, digestOf, readHash, sized, type TpmScheme } from "./structures.ts"

/** A key's public area (TPMT_PUBLIC), RSA or ECC. */
export interface TpmPublic {
  readonly raw: Uint8Array
  readonly nameHash: TpmHash
  readonly attributes: number
  /** The one signing scheme of the key; undefined when it takes any. */
  readonly scheme: { readonly scheme: TpmScheme; readonly hash: TpmHash } | undefined
  readonly key: KeyObject
}

export const attributeBits = {
  fixedTpm: 1 << 1,
  fixedParent: 1 << 4,
  sensitiveDataOrigin: 1 << 5,
  userWithAuth: 1 << 6,
  restricted: 1 << 16,
  decrypt: 1 << 17,
  sign: 1 << 18,
} as const

const curves: Readonly<Record<number, readonly [name: string, size: number]>> = {
  3: ["P-256", 32],
  4: ["P-384", 48],
  5: ["P-521", 66],
}

const schemeNames: Readonly<Record<number, TpmScheme>> = {
  [algorithms.rsassa]: "rsassa",
  [algorithms.rsapss]: "rsapss",
  [algorithms.ecdsa]: "ecdsa",
}

export function parseTpmPublic(bytes: Uint8Array): TpmPublic {
  const cursor = new Cursor(bytes, "tpm public area")
  const type = cursor.u16Be("type")
  if (type !== algorithms.rsa && type !== algorithms.ecc)
    throw cursor.fault("type", "RSA or ECC", String(type))
  const nameHash = readHash(cursor, "nameAlg")
  const attributes = cursor.u32Be("objectAttributes")
  sized(cursor, "authPolicy")
  readSymmetric(cursor)
  const scheme = readScheme(cursor)
  const key = type === algorithms.rsa ? readRsa(cursor) : readEcc(cursor)
  cursor.end()
  return { raw: bytes, nameHash, attributes, scheme, key }
}

// Storage keys have a cipher (algorithm, key bits, mode), signing keys have none.
function readSymmetric(cursor: Cursor): void {
  if (cursor.u16Be("symmetric") === algorithms.null) return
  cursor.u16Be("symmetric bits")
  cursor.u16Be("symmetric mode")
}

function readScheme(cursor: Cursor): TpmPublic["scheme"] {
  const id = cursor.u16Be("scheme")
  if (id === algorithms.null) return undefined
  const scheme = schemeNames[id]
  if (scheme === undefined) throw cursor.fault("scheme", "a signing scheme", String(id))
  return { scheme, hash: readHash(cursor, "scheme hash") }
}

function keyOf(cursor: Cursor, jwk: Record<string, string>): KeyObject {
  try {
    return createPublicKey({ key: jwk, format: "jwk" })
  } catch {
    throw cursor.fault("unique", "a public key", "something else")
  }
}

const base64url = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64url")

function readRsa(cursor: Cursor): KeyObject {
  const bits = cursor.u16Be("keyBits")
  const exponent = cursor.u32Be("exponent")
  const modulus = sized(cursor, "unique")
  if (bits < 2048 || modulus.length * 8 !== bits || ((modulus[0] ?? 0) & 0x80) === 0)
    throw cursor.fault(
      "unique",
      `a modulus of ${bits} bits, 2048 at least`,
      `${modulus.length} bytes`,
    )
  const e = new Uint8Array(4)
  new DataView(e.buffer).setUint32(0, exponent === 0 ? 65537 : exponent)
  return keyOf(cursor, { kty: "RSA", n: base64url(modulus), e: base64url(e) })
}

function readEcc(cursor: Cursor): KeyObject {
  const curve = curves[cursor.u16Be("curveID")]
  if (curve === undefined) throw cursor.fault("curveID", "P-256, P-384 or P-521", "another curve")
  if (cursor.u16Be("kdf") !== algorithms.null) cursor.u16Be("kdf hash")
  const [crv, size] = curve
  const coordinate = (field: string) => {
    const bytes = sized(cursor, field)
    if (bytes.length !== size) throw cursor.fault(field, `${size} bytes`, `${bytes.length}`)
    return base64url(bytes)
  }
  return keyOf(cursor, { kty: "EC", crv, x: coordinate("x"), y: coordinate("y") })
}

/** The TPM Name, hex: algorithm and hash of the public area. A key's identity; undefined for SHA-1. */
export function tpmName(area: TpmPublic): string | undefined {
  if (area.nameHash === "sha1") return undefined
  const id = new Uint8Array(2)
  new DataView(id.buffer).setUint16(0, algorithms[area.nameHash])
  return toHex(concatBytes(id, digestOf(area.nameHash, area.raw)))
}

/** SHA-256 over the SubjectPublicKeyInfo, hex. */
export function keyDigest(key: KeyObject): string {
  return toHex(sha256(key.export({ type: "spki", format: "der" })))
}

/**
 * Whether the key can only sign what its TPM made, was born in it and cannot leave it. Only then is a quote by it a quote.
 */
export function isAttestationKey(area: TpmPublic): boolean {
  const { fixedTpm, fixedParent, sensitiveDataOrigin, restricted, sign, decrypt } = attributeBits
  const wanted = fixedTpm | fixedParent | sensitiveDataOrigin | restricted | sign
  return (area.attributes & wanted) === wanted && (area.attributes & decrypt) === 0
}

/** The TPM Name of a TPMT_PUBLIC that must be an attestation key, hex: what policies enrol. */
export function attestationKeyName(publicArea: Uint8Array): string {
  const area = parseTpmPublic(publicArea)
  const name = tpmName(area)
  if (name === undefined || !isAttestationKey(area))
    throw new CofferError("refused", "tpm key: wanted an attestation key, found another kind", {
      reason: "ak-attributes",
    })
  return name
}
