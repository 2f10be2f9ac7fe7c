import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto"
import { CofferError } from "../errors.ts"

/** RSA-3072 with exponent 3, as SIGSTRUCT wants it. Numbers are little-endian in 384 bytes. */
export const rsaSize = 384

/** A private key that was checked to be RSA-3072 with e = 3. */
export interface RsaSigningKey {
  readonly privateKey: KeyObject
  /** 384 bytes, little-endian. */
  readonly modulus: Uint8Array
}

/** From PEM (PKCS#1 or PKCS#8). Anything but RSA-3072 with exponent 3 is a `config` error; `name` is for the message. */
export function readSigningKey(pem: string, name: string): RsaSigningKey {
  let privateKey: KeyObject
  try {
    privateKey = createPrivateKey(pem)
  } catch (cause) {
    throw new CofferError("config", `${name}: wanted a private key in PEM, found something else`, {
      cause,
      hint: "make one with: coffer keygen --sign KEY.pem",
    })
  }
  const details = privateKey.asymmetricKeyDetails
  const bits = String(details?.modulusLength ?? "")
  const exponent = String(details?.publicExponent ?? "")
  if (privateKey.asymmetricKeyType !== "rsa" || bits !== "3072" || exponent !== "3") {
    throw new CofferError(
      "config",
      `${name}: wanted an RSA key of 3072 bits with exponent 3, found ${privateKey.asymmetricKeyType ?? "none"} ${bits} ${exponent}`.trimEnd(),
      { hint: "make one with: coffer keygen --sign KEY.pem" },
    )
  }
  return { privateKey, modulus: modulusOf(privateKey) }
}

function modulusOf(key: KeyObject): Uint8Array {
  const { n } = createPublicKey(key).export({ format: "jwk" })
  if (n === undefined) throw new TypeError("an RSA key has a modulus")
  return littleEndian(BigInt(`0x${Buffer.from(n, "base64url").toString("hex")}`))
}

/** The public key with this modulus (little-endian) and exponent 3. */
export function publicKeyOf(modulus: Uint8Array): KeyObject {
  const n = modulus.toReversed().toBase64({ alphabet: "base64url", omitPadding: true })
  return createPublicKey({ key: { kty: "RSA", n, e: "Aw" }, format: "jwk" })
}

function littleEndian(value: bigint): Uint8Array {
  const bytes = Uint8Array.fromHex(value.toString(16).padStart(2 * rsaSize, "0"))
  if (bytes.length !== rsaSize) throw new TypeError("the number does not fit into 384 bytes")
  return bytes.toReversed()
}

function fromLittleEndian(bytes: Uint8Array): bigint {
  return BigInt(`0x${bytes.toReversed().toHex()}`)
}

/** Q1 = floor(S^2 / N) and Q2 = floor(S (S^2 - Q1 N) / N): with them the processor verifies without a division. */
export function quotients(
  signature: Uint8Array,
  modulus: Uint8Array,
): { readonly q1: Uint8Array; readonly q2: Uint8Array } {
  const s = fromLittleEndian(signature)
  const n = fromLittleEndian(modulus)
  const square = s * s
  const q1 = square / n
  const q2 = (s * (square - q1 * n)) / n
  return { q1: littleEndian(q1), q2: littleEndian(q2) }
}

export function isBelow(a: Uint8Array, b: Uint8Array): boolean {
  return fromLittleEndian(a) < fromLittleEndian(b)
}
