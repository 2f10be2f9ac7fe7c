import { canonicalJson, concatBytes, toHex } from "../bytes/index.ts"
import { labelBytes, sha256 } from "../crypto/index.ts"
import type { Policy } from "./schema.ts"

/** RFC 8785 of the normal form: comments, order and defaults do not change it. */
export function canonicalPolicy(policy: Policy): Uint8Array {
  return canonicalJson(policy)
}

/** 64 hex digits: SHA-256(label ‖ canonical form). It names one document, and the next one's `predecessor` is it. */
export function policyHash(policy: Policy): string {
  return toHex(sha256(concatBytes(labelBytes("policyHash"), canonicalPolicy(policy))))
}
