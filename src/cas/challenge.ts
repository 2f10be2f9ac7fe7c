import { concatBytes } from "../bytes/index.ts"
import { equalSecret, hkdfSha256, hmacSha256, labelBytes, randomBytes } from "../crypto/index.ts"

const nonceSize = 32
const macSize = 16

/**
 * Challenges: 6 bytes of milliseconds, 10 random bytes, 16 bytes of HMAC. Every replica knows its own by the shared
 * master key and keeps nothing for those that never come back; that one is used once only is the store's part.
 */
export class Challenger {
  readonly #key: Uint8Array

  constructor(master: Uint8Array) {
    this.#key = hkdfSha256(master, new Uint8Array(), labelBytes("casChallenge"), 32)
  }

  make(now: number): Uint8Array {
    const time = new Uint8Array(8)
    new DataView(time.buffer).setBigUint64(0, BigInt(now))
    const body = concatBytes(time.subarray(2), randomBytes(nonceSize - macSize - 6))
    return concatBytes(body, this.#mac(body))
  }

  /** Milliseconds since this CAS gave the nonce out; undefined when it did not. Slightly negative between replicas. */
  age(nonce: Uint8Array, now: number): number | undefined {
    if (nonce.length !== nonceSize) return undefined
    const body = nonce.subarray(0, nonceSize - macSize)
    if (!equalSecret(this.#mac(body), nonce.subarray(nonceSize - macSize))) return undefined
    const time = concatBytes(new Uint8Array(2), body.subarray(0, 6))
    return now - Number(new DataView(time.buffer).getBigUint64(0))
  }

  #mac(body: Uint8Array): Uint8Array {
    return hmacSha256(this.#key, body).subarray(0, macSize)
  }
}
