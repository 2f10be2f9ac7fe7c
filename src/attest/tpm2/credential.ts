import { constants, createCipheriv, type KeyObject, publicEncrypt } from "node:crypto"
import { concatBytes, utf8 } from "../../bytes/index.ts"
import { hmacSha256, randomBytes } from "../../crypto/index.ts"
import { tpm2b, u32 } from "./wire.ts"

/** What TPM2_ActivateCredential takes: TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET. */
export interface Credential {
  readonly idObject: Uint8Array
  readonly secret: Uint8Array
}

const seedSize = 16

/**
 * TPM2_MakeCredential (TCG, Part 1, 24) for an endorsement key of RSA with SHA-256 and AES-128: only the TPM that has this
 * key can open it, and only when it holds the object with this Name too. `value`: up to 32 bytes.
 */
export function makeCredential(
  endorsementKey: KeyObject,
  name: Uint8Array,
  value: Uint8Array,
): Credential {
  if (value.length > 32) throw new TypeError("a credential has at most 32 bytes")
  const seed = randomBytes(seedSize)
  const secret = publicEncrypt(
    {
      key: endorsementKey,
      padding: constants.RSA_PKCS1_OAEP_PADDING,
      oaepHash: "sha256",
      oaepLabel: Buffer.from("IDENTITY\0"),
    },
    seed,
  )
  const key = kdfa(seed, "STORAGE", name, 128)
  // The key is of this seed alone, so an IV of zeros is what the TPM takes.
  const cipher = createCipheriv("aes-128-cfb", key, new Uint8Array(16))
  const identity = concatBytes(cipher.update(tpm2b(value)), cipher.final())
  const integrity = hmacSha256(
    kdfa(seed, "INTEGRITY", new Uint8Array(), 256),
    concatBytes(identity, name),
  )
  return { idObject: tpm2b(concatBytes(tpm2b(integrity), identity)), secret: tpm2b(secret) }
}

/** KDFa of the TCG with SHA-256: counter, label with its NUL, context, size in bits. Up to 256 bits. */
function kdfa(key: Uint8Array, label: string, context: Uint8Array, bits: number): Uint8Array {
  const input = concatBytes(u32(1), utf8(`${label}\0`), context, u32(bits))
  return hmacSha256(key, input).subarray(0, bits / 8)
}
