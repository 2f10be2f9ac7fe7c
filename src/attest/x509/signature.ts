import {
  constants,
  createPublicKey,
  type KeyObject,
  type VerifyKeyObjectInput,
  verify,
} from "node:crypto"
import { type Algorithm, context, DerReader, tag } from "../../der/index.ts"
import { CofferError } from "../../errors.ts"

interface Scheme {
  readonly hash: "sha256" | "sha384" | "sha512"
  readonly kind: "ecdsa" | "rsa" | "rsa-pss"
}

const schemes: Readonly<Record<string, Scheme>> = {
  "1.2.840.10045.4.3.2": { hash: "sha256", kind: "ecdsa" },
  "1.2.840.10045.4.3.3": { hash: "sha384", kind: "ecdsa" },
  "1.2.840.10045.4.3.4": { hash: "sha512", kind: "ecdsa" },
  "1.2.840.113549.1.1.11": { hash: "sha256", kind: "rsa" },
  "1.2.840.113549.1.1.12": { hash: "sha384", kind: "rsa" },
  "1.2.840.113549.1.1.13": { hash: "sha512", kind: "rsa" },
}

const pssOid = "1.2.840.113549.1.1.10"
const mgf1Oid = "1.2.840.113549.1.1.8"
const hashOids: Readonly<Record<string, Scheme["hash"]>> = {
  "2.16.840.1.101.3.4.2.1": "sha256",
  "2.16.840.1.101.3.4.2.2": "sha384",
  "2.16.840.1.101.3.4.2.3": "sha512",
}

/** A SubjectPublicKeyInfo as a key; what OpenSSL cannot read is an `integrity` error. */
export function publicKeyOf(spki: Uint8Array): KeyObject {
  try {
    return createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" })
  } catch (cause) {
    throw new CofferError("integrity", "public key: wanted a SubjectPublicKeyInfo, found none", {
      cause,
    })
  }
}

/** Whether `signature` over `data` is by `spki`, under an X.509 algorithm. SHA-1, MD5 and short RSA keys verify nothing. */
export function verifyX509(
  algorithm: Algorithm,
  spki: Uint8Array,
  data: Uint8Array,
  signature: Uint8Array,
): boolean {
  const scheme = algorithm.oid === pssOid ? pssScheme(algorithm) : schemes[algorithm.oid]
  if (scheme === undefined) return false
  const key = publicKeyOf(spki)
  if (!fits(key, scheme.kind)) return false
  const input: VerifyKeyObjectInput =
    scheme.kind === "rsa-pss"
      ? {
          key,
          padding: constants.RSA_PKCS1_PSS_PADDING,
          saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
        }
      : { key }
  return verify(scheme.hash, data, input, signature)
}

function fits(key: KeyObject, kind: Scheme["kind"]): boolean {
  const type = key.asymmetricKeyType
  if (kind === "ecdsa") return type === "ec"
  const modulus = key.asymmetricKeyDetails?.modulusLength ?? 0
  return (type === "rsa" || (kind === "rsa-pss" && type === "rsa-pss")) && modulus >= 2048
}

const saltSizes: Readonly<Record<Scheme["hash"], number>> = { sha256: 32, sha384: 48, sha512: 64 }

// RFC 4055, 3.1. One hash for message and mask, a salt of its size: what AMD uses, and nothing weaker.
function pssScheme(algorithm: Algorithm): Scheme | undefined {
  if (algorithm.parameters === undefined) return undefined
  const outer = new DerReader(algorithm.parameters, "RSASSA-PSS parameters")
  const reader = outer.inside(tag.sequence, "parameters")
  outer.end()
  const hash = reader.inside(context(0), "hash").inside(tag.sequence, "hash").oid("hash")
  const mask = reader.inside(context(1), "mask").inside(tag.sequence, "mask")
  const maskOid = mask.oid("mask")
  const maskHash = mask.inside(tag.sequence, "mask hash").oid("mask hash")
  const salt = reader.inside(context(2), "salt").small("salt")
  const trailer = reader.more ? reader.inside(context(3), "trailer").small("trailer") : 1
  reader.end()
  const name = hashOids[hash]
  if (name === undefined || maskOid !== mgf1Oid || maskHash !== hash) return undefined
  return trailer === 1 && salt === saltSizes[name] ? { hash: name, kind: "rsa-pss" } : undefined
}

/** ECDSA with r and s as they stand in quotes and reports: big-endian, each as wide as the curve. */
export function verifyEcdsaRaw(
  hash: "sha256" | "sha384",
  key: KeyObject,
  data: Uint8Array,
  signature: Uint8Array,
): boolean {
  return verify(hash, data, { key, dsaEncoding: "ieee-p1363" }, signature)
}

/** A P-256 key from x and y; undefined when the point is not on the curve. */
export function p256Key(point: Uint8Array): KeyObject | undefined {
  const half = point.length / 2
  const coordinate = (from: number) =>
    Buffer.from(point.subarray(from, from + half)).toString("base64url")
  try {
    return createPublicKey({
      key: { kty: "EC", crv: "P-256", x: coordinate(0), y: coordinate(half) },
      format: "jwk",
    })
  } catch {
    return undefined
  }
}
