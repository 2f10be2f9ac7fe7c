import {
  createHash,
  createHmac,
  hash,
  hkdfSync,
  randomFillSync,
  timingSafeEqual,
} from "node:crypto"
import { fillRandom } from "../sys/index.ts"

const kernelMost = 256

/** 32 bytes. */
export function sha256(data: Uint8Array): Uint8Array {
  return hash("sha256", data, "buffer")
}

/** 48 bytes. */
export function sha384(data: Uint8Array): Uint8Array {
  return hash("sha384", data, "buffer")
}

/** 64 bytes. */
export function sha512(data: Uint8Array): Uint8Array {
  return hash("sha512", data, "buffer")
}

/** SHA-256 over a stream of parts. */
export class Sha256 {
  readonly #hash = createHash("sha256")

  update(data: Uint8Array): this {
    this.#hash.update(data)
    return this
  }

  /** 32 bytes; the object is used up. */
  digest(): Uint8Array {
    return this.#hash.digest()
  }
}

/** 32 bytes. */
export function hmacSha256(key: Uint8Array, data: Uint8Array): Uint8Array {
  return createHmac("sha256", key).update(data).digest()
}

/** RFC 5869. */
export function hkdfSha256(
  key: Uint8Array,
  salt: Uint8Array,
  info: Uint8Array,
  size: number,
): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", key, salt, info, size))
}

/** From the kernel, as far as it gives so many in one piece: a fifth of the time of node:crypto, and no pool that a snapshot would repeat. */
export function randomBytes(size: number): Uint8Array {
  const bytes = new Uint8Array(size)
  if (size > kernelMost) return randomFillSync(bytes)
  fillRandom(bytes)
  return bytes
}

/** Equality in a time that depends on the lengths only. */
export function equalSecret(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}
