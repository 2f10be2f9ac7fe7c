import { concatBytes } from "../../bytes/index.ts"
import { hkdfSha256, hmacSha256, labelBytes, randomBytes, sha256 } from "../../crypto/index.ts"
import { fillRandom } from "../../sys/index.ts"

/** Where a writer's salts and nonces come from. */
export interface Entropy {
  /** 32 bytes, never the same twice. */
  salt(): Uint8Array
  /** The header bytes of a queued frame that are set when it is sealed are zero until then: `nonce` reads them. */
  readonly readsRun: boolean
  /**
   * Fills the random half (8 bytes) of the nonces of a run of frames, whose plaintext is `run`. `salt` is the segment's,
   * `offset` where the run stands in it.
   */
  nonce(target: Buffer, run: Uint8Array, salt: Uint8Array, offset: number): void
}

export const kernelEntropy: Entropy = {
  salt: () => randomBytes(32),
  readsRun: false,
  nonce: (target) => fillRandom(target),
}

/**
 * For a store that is written once: the same key, `subject` and plaintext give the same bytes. The salt of a segment, and
 * so its key, depends on the digest of all that is written (in `subject`), and nonces on the plaintext itself: should two
 * versions of us lay the same content out differently, they still use no nonce twice. As with any deterministic
 * encryption, who sees two stores under one key sees whether their contents are equal, and no more.
 */
export function derivedEntropy(key: Uint8Array, subject: Uint8Array): Entropy {
  const own = hkdfSha256(key, subject, labelBytes("volumeDerivedEntropy"), 32)
  let count = 0
  return {
    salt() {
      count += 1
      return hmacSha256(own, concatBytes(Buffer.from("salt"), number(count)))
    },
    readsRun: true,
    nonce(target, run, salt, offset) {
      const place = concatBytes(Buffer.from("nonce"), salt, number(offset))
      target.set(hmacSha256(own, concatBytes(place, sha256(run))).subarray(0, target.length))
    },
  }
}

function number(value: number): Uint8Array {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}
