import { concatBytes } from "../../bytes/index.ts"
import { createAead, equalSecret, hkdfSha256, labelBytes, randomBytes } from "../../crypto/index.ts"
import { CofferError } from "../../errors.ts"
import type { WrappedKey } from "./commit.ts"
import {
  encodeSegmentHeader,
  type SegmentHeader,
  type SegmentId,
  type VolumeHeader,
} from "./format.ts"

/** The AEAD key of a segment: used for that segment only, and bound to the volume's header. */
export function segmentKey(
  volumeKey: Uint8Array,
  header: VolumeHeader,
  salt: Uint8Array,
): Uint8Array {
  return hkdfSha256(volumeKey, salt, concatBytes(labelBytes("volumeSegmentKey"), header.hash), 32)
}

/** What only an owner of the key can write into a segment's header. It shows nothing of the key. */
export function segmentCheck(
  volumeKey: Uint8Array,
  header: VolumeHeader,
  { number, generation, salt }: SegmentId,
): Uint8Array {
  const numbers = Buffer.alloc(8)
  numbers.writeUInt32LE(number, 0)
  numbers.writeUInt32LE(generation, 4)
  const info = concatBytes(labelBytes("volumeSegmentCheck"), header.hash, numbers)
  return hkdfSha256(volumeKey, salt, info, 32)
}

export function segmentHeaderBytes(
  volumeKey: Uint8Array,
  header: VolumeHeader,
  id: SegmentId,
): Uint8Array {
  return encodeSegmentHeader({ ...id, check: segmentCheck(volumeKey, header, id) })
}

export function keyFits(
  volumeKey: Uint8Array,
  header: VolumeHeader,
  segment: SegmentHeader,
): boolean {
  return equalSecret(segmentCheck(volumeKey, header, segment), segment.check)
}

/** The keys of a volume by generation. The newest is the user's; older ones come out of the chain, wrapped under it. */
export class KeyRing {
  readonly #keys = new Map<number, Uint8Array>()
  readonly #given: Uint8Array[]

  /** `given`: what the user has, without a generation yet. */
  constructor(...given: readonly Uint8Array[]) {
    if (given.some((key) => key.length !== 32)) throw new TypeError("a volume key has 32 bytes")
    this.#given = [...given]
  }

  /** Takes one of the given keys for that generation when it `fits`. */
  learnNewest(generation: number, fits: (key: Uint8Array) => boolean): boolean {
    const key = this.#given.find(fits)
    if (key !== undefined) this.#keys.set(generation, key)
    return key !== undefined
  }

  add(generation: number, key: Uint8Array): void {
    if (key.length !== 32) throw new TypeError("a volume key has 32 bytes")
    this.#keys.set(generation, key)
  }

  has(generation: number): boolean {
    return this.#keys.has(generation)
  }

  get(generation: number): Uint8Array {
    const key = this.#keys.get(generation)
    if (key === undefined)
      throw new CofferError(
        "integrity",
        `wanted the volume key of generation ${generation}, have none`,
        {
          hint: "the volume was rekeyed: give its newest key",
          reason: "wrong-key",
        },
      )
    return key
  }
}

function wrapKey(key: Uint8Array, header: VolumeHeader) {
  return createAead(hkdfSha256(key, header.hash, labelBytes("volumeKeyWrap"), 32))
}

function wrapAad(generation: number): Uint8Array {
  const aad = Buffer.alloc(4)
  aad.writeUInt32LE(generation)
  return aad
}

/** `old` of that generation, readable with `key` only. */
export function wrapOldKey(
  key: Uint8Array,
  header: VolumeHeader,
  generation: number,
  old: Uint8Array,
  nonce: Uint8Array = randomBytes(12),
): WrappedKey {
  const sealed = concatBytes(nonce, old, new Uint8Array(16))
  const aead = wrapKey(key, header)
  aead.seal(sealed.subarray(0, 12), wrapAad(generation), sealed, 12, 32, 44)
  aead.close()
  return { generation, sealed }
}

export function unwrapOldKey(
  key: Uint8Array,
  header: VolumeHeader,
  wrapped: WrappedKey,
): Uint8Array {
  const old = new Uint8Array(32)
  const aead = wrapKey(key, header)
  const { sealed, generation } = wrapped
  const ok = aead.open(sealed.subarray(0, 12), wrapAad(generation), sealed, 12, 32, 44, old, 0)
  aead.close()
  if (!ok)
    throw new CofferError(
      "integrity",
      `the wrapped key of generation ${generation} does not verify`,
    )
  return old
}
