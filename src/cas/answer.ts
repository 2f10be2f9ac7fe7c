import {
  createCipheriv,
  createDecipheriv,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from "node:crypto"
import { z } from "zod"
import { rawPublicKey, verifyEd25519 } from "../attest/index.ts"
import { concatBytes, fromHex, toHex } from "../bytes/index.ts"
import { hkdfSha256, labelBytes } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"

/**
 * The answer to an attestation, spec/cas-protocol.md section 4: X25519 between a fresh key of the CAS and the attested
 * ephemeral key, HKDF-SHA256 with the challenge as salt, AES-256-GCM, and the CAS's signature over all of it. A recorded
 * answer fits no other challenge and no other enclave.
 */
export const sealedAnswerSchema = z.strictObject({
  key: z.string().regex(/^[0-9a-f]{64}$/),
  body: z
    .string()
    .max(16_777_216)
    .regex(/^[A-Za-z0-9+/]*={0,2}$/),
  signature: z.string().regex(/^[0-9a-f]{128}$/),
})
export type SealedAnswer = Readonly<z.infer<typeof sealedAnswerSchema>>

export interface AnswerContext {
  /** The challenge, 32 bytes. */
  readonly nonce: Uint8Array
  /** The attested X25519 key, 32 bytes. */
  readonly ephemeralKey: Uint8Array
  /** The CAS's Ed25519 key, 32 bytes. */
  readonly casKey: Uint8Array
}

export function sealAnswer(
  plain: Uint8Array,
  context: AnswerContext,
  identity: KeyObject,
): SealedAnswer {
  const own = generateKeyPairSync("x25519")
  const ownKey = rawPublicKey(own.publicKey)
  const key = answerKey(own.privateKey, context.ephemeralKey, ownKey, context)
  // The key is used for this one message, so the nonce may be zero.
  const cipher = createCipheriv("aes-256-gcm", key, new Uint8Array(12))
  const body = Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()])
  const signature = sign(null, signedBytes(context, ownKey, body), identity)
  return { key: toHex(ownKey), body: body.toString("base64"), signature: toHex(signature) }
}

/** Throws `refused` when the answer is not the pinned CAS's answer to this challenge and this key. */
export function openAnswer(
  answer: SealedAnswer,
  context: AnswerContext,
  ephemeral: KeyObject,
): Uint8Array {
  const peer = fromHex(answer.key) ?? new Uint8Array()
  const body = Buffer.from(answer.body, "base64")
  const signature = fromHex(answer.signature) ?? new Uint8Array()
  if (!verifyEd25519(context.casKey, signedBytes(context, peer, body), signature))
    throw new CofferError(
      "refused",
      `CAS answer: wanted one signed by ${toHex(context.casKey)} for this challenge, found another`,
      {
        reason: "answer-signature",
        hint: "somebody stands between us and the CAS, or the pinned key is another CAS's",
      },
    )
  const decipher = createDecipheriv(
    "aes-256-gcm",
    answerKey(ephemeral, peer, peer, context),
    new Uint8Array(12),
    { authTagLength: 16 },
  )
  decipher.setAuthTag(body.subarray(-16))
  try {
    return Buffer.concat([decipher.update(body.subarray(0, -16)), decipher.final()])
  } catch (cause) {
    throw new CofferError("refused", "CAS answer: wanted one encrypted to our key, found another", {
      cause,
      reason: "answer-key",
    })
  }
}

function answerKey(
  own: KeyObject,
  peer: Uint8Array,
  casEphemeral: Uint8Array,
  context: AnswerContext,
): Uint8Array {
  const shared = diffieHellman({ privateKey: own, publicKey: x25519PublicKey(peer) })
  const info = concatBytes(
    labelBytes("casAnswerKey"),
    casEphemeral,
    context.ephemeralKey,
    context.casKey,
  )
  return hkdfSha256(shared, context.nonce, info, 32)
}

function x25519PublicKey(raw: Uint8Array): KeyObject {
  try {
    return createPublicKey({
      key: { kty: "OKP", crv: "X25519", x: Buffer.from(raw).toString("base64url") },
      format: "jwk",
    })
  } catch (cause) {
    throw new CofferError(
      "refused",
      "wanted an X25519 public key of 32 bytes, found something else",
      { cause, reason: "key-malformed" },
    )
  }
}

function signedBytes(
  context: AnswerContext,
  casEphemeral: Uint8Array,
  body: Uint8Array,
): Uint8Array {
  return concatBytes(
    labelBytes("casAnswer"),
    context.nonce,
    context.ephemeralKey,
    casEphemeral,
    body,
  )
}
