import {
  createHash,
  createHmac,
  hash,
  hkdfSync,
  randomFillSync,
  timingSafeEqual,
} from "node:crypto"

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

export function randomBytes(size: number): Uint8Array {
  return randomFillSync(new Uint8Array(size))
}

/** Equality in a time that depends on the lengths only. */
export function equalSecret(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}
