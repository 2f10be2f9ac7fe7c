import { createPublicKey, type KeyObject, verify } from "node:crypto"
import { CofferError } from "../../errors.ts"

/** The 32 raw bytes of an Ed25519 (or X25519) public key, of either half of the pair. */
export function rawPublicKey(key: KeyObject): Uint8Array {
  const publicKey = key.type === "private" ? createPublicKey(key) : key
  const { x } = publicKey.export({ format: "jwk" })
  if (typeof x !== "string") throw new TypeError("wanted an Ed25519 or X25519 key")
  return new Uint8Array(Buffer.from(x, "base64url"))
}

export function ed25519PublicKey(raw: Uint8Array): KeyObject {
  if (raw.length !== 32) throw new TypeError("an Ed25519 public key has 32 bytes")
  try {
    return createPublicKey({
      key: { kty: "OKP", crv: "Ed25519", x: Buffer.from(raw).toString("base64url") },
      format: "jwk",
    })
  } catch (cause) {
    throw new CofferError("refused", "wanted an Ed25519 public key, found a point that is none", {
      reason: "key-malformed",
      cause,
    })
  }
}

// The eight points of small order: under such a key one signature fits many messages.
const smallOrder: ReadonlySet<string> = new Set(
  [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  ].flatMap((hex) => {
    const signed = Buffer.from(hex, "hex")
    signed[31] = (signed[31] ?? 0) ^ 0x80
    return [hex, signed.toString("hex")]
  }),
)

/** RFC 8032 by OpenSSL (S below the order is checked there); keys of small order verify nothing. */
export function verifyEd25519(
  key: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (signature.length !== 64 || smallOrder.has(Buffer.from(key).toString("hex"))) return false
  return verify(null, message, ed25519PublicKey(key), signature)
}
