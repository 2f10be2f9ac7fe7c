import { type KeyObject, sign } from "node:crypto"
import { concatBytes, toHex } from "../../bytes/index.ts"
import { labelBytes } from "../../crypto/index.ts"
import { Checks } from "../checks.ts"
import type { SimClaims } from "../claims.ts"
import { platformBinding } from "./bindings.ts"
import { rawPublicKey, verifyEd25519 } from "./ed25519.ts"
import type { PlatformEvidence } from "./schema.ts"

type SimEvidence = Extract<PlatformEvidence, { type: "insecure-sim" }>

/** The platform of a machine without a TEE: a software key in place of the hardware's, the code path is the same. */
export function simEvidence(
  simKey: KeyObject,
  nonce: Uint8Array,
  nodeKey: Uint8Array,
): SimEvidence {
  const message = concatBytes(labelBytes("insecureSim"), platformBinding(nonce, nodeKey))
  return {
    type: "insecure-sim",
    nonce: toHex(nonce),
    nodeKey: toHex(nodeKey),
    key: toHex(rawPublicKey(simKey)),
    signature: toHex(sign(null, message, simKey)),
  }
}

/** `binding` is what the evidence must bind, `key` and `signature` come from the evidence. */
export function verifySim(key: Uint8Array, signature: Uint8Array, binding: Uint8Array): SimClaims {
  const checks = new Checks()
  const message = concatBytes(labelBytes("insecureSim"), binding)
  checks.require(
    verifyEd25519(key, message, signature),
    "sim-signature",
    "insecure-sim: wanted a signature by the software key in the evidence, found none that verifies",
  )
  return { type: "insecure-sim", key: toHex(key), checks: checks.done }
}
