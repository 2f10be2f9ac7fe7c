import { concatBytes, utf8 } from "../../bytes/index.ts"
import { labelBytes, sha512 } from "../../crypto/index.ts"

/** Bytes of a CAS nonce, of an Ed25519 or X25519 public key. All are fixed, so no two inputs of a hash below are alike. */
export const nonceSize = 32
export const keySize = 32

function fixed(bytes: Uint8Array, size: number, what: string): Uint8Array {
  if (bytes.length !== size) throw new TypeError(`${what} has ${size} bytes`)
  return bytes
}

/** What platform evidence carries: it binds the node agent's key to the CAS's nonce. 64 bytes. */
export function platformBinding(nonce: Uint8Array, nodeKey: Uint8Array): Uint8Array {
  return sha512(
    concatBytes(
      labelBytes("platformBinding"),
      fixed(nonce, nonceSize, "a nonce"),
      fixed(nodeKey, keySize, "a node key"),
    ),
  )
}

/**
 * The part of the binding that goes into a TPM's qualifying data: its first 32 bytes, because a TPM that knows SHA-256
 * only takes at most 34.
 */
export function tpmQualifyingData(binding: Uint8Array): Uint8Array {
  return binding.subarray(0, 32)
}

export interface ReleaseBinding {
  /** The CAS's challenge, 32 bytes, used once. */
  readonly nonce: Uint8Array
  /** X25519, made by the enclave's shield for this one exchange. */
  readonly ephemeralKey: Uint8Array
  /** The CAS's Ed25519 key that the client pins: evidence for one CAS is worth nothing at another. */
  readonly casKey: Uint8Array
  /** The policy that is asked, so evidence for one policy opens no other. */
  readonly policyName: string
}

/** The report data of a report that releases keys. 64 bytes. */
export function releaseReportData(binding: ReleaseBinding): Uint8Array {
  return sha512(
    concatBytes(
      labelBytes("releaseReportData"),
      fixed(binding.nonce, nonceSize, "a nonce"),
      fixed(binding.ephemeralKey, keySize, "an ephemeral key"),
      fixed(binding.casKey, keySize, "a CAS key"),
      utf8(binding.policyName),
    ),
  )
}
