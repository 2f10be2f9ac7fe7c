import { createCipheriv, createDecipheriv } from "node:crypto"
import type { Aead } from "./aead.ts"

const algorithm = "aes-256-gcm"
const tagSize = 16
const options = { authTagLength: tagSize }

/** The slower path, in public interfaces of Node only: for a Node without `node:ffi`, and as the reference in tests. */
export class NodeAead implements Aead {
  readonly #key: Uint8Array
  #open = true

  constructor(key: Uint8Array) {
    this.#key = new Uint8Array(32)
    this.setKey(key)
  }

  setKey(key: Uint8Array): void {
    if (key.length !== 32) throw new TypeError("an AES-256 key has 32 bytes")
    if (!this.#open) throw new TypeError("the cipher is closed")
    this.#key.set(key)
  }

  seal(
    nonce: Uint8Array,
    aad: Uint8Array,
    buffer: Uint8Array,
    at: number,
    size: number,
    tagAt: number,
  ): void {
    const text = this.#range(buffer, at, size, tagAt)
    const cipher = this.#cipher(nonce, aad)
    buffer.set(cipher.update(text), at)
    cipher.final()
    buffer.set(cipher.getAuthTag(), tagAt)
  }

  open(
    nonce: Uint8Array,
    aad: Uint8Array,
    source: Uint8Array,
    at: number,
    size: number,
    tagAt: number,
    target: Uint8Array,
    targetAt: number,
  ): boolean {
    const text = this.#range(source, at, size, tagAt)
    if (targetAt < 0 || targetAt + size > target.length)
      throw new TypeError("open: target too small")
    const cipher = this.#decipher(nonce, aad, source, tagAt)
    const plain = cipher.update(text)
    const genuine = verified(cipher)
    if (genuine) target.set(plain, targetAt)
    else target.fill(0, targetAt, targetAt + size)
    plain.fill(0)
    return genuine
  }

  mac(
    nonce: Uint8Array,
    aad: Uint8Array,
    buffer: Uint8Array,
    at: number,
    size: number,
    tagAt: number,
  ): void {
    const text = this.#range(buffer, at, size, tagAt)
    const cipher = this.#cipher(nonce, aad)
    cipher.setAAD(text)
    cipher.final()
    buffer.set(cipher.getAuthTag(), tagAt)
  }

  verifyMac(
    nonce: Uint8Array,
    aad: Uint8Array,
    buffer: Uint8Array,
    at: number,
    size: number,
    tagAt: number,
  ): boolean {
    const text = this.#range(buffer, at, size, tagAt)
    const cipher = this.#decipher(nonce, aad, buffer, tagAt)
    cipher.setAAD(text)
    return verified(cipher)
  }

  close(): void {
    this.#open = false
    this.#key.fill(0)
  }

  #cipher(nonce: Uint8Array, aad: Uint8Array) {
    this.#begin(nonce, aad)
    const cipher = createCipheriv(algorithm, this.#key, nonce, options)
    cipher.setAAD(aad)
    return cipher
  }

  #decipher(nonce: Uint8Array, aad: Uint8Array, source: Uint8Array, tagAt: number) {
    this.#begin(nonce, aad)
    const cipher = createDecipheriv(algorithm, this.#key, nonce, options)
    cipher.setAAD(aad)
    cipher.setAuthTag(source.subarray(tagAt, tagAt + tagSize))
    return cipher
  }

  #begin(nonce: Uint8Array, aad: Uint8Array): void {
    if (!this.#open) throw new TypeError("the cipher is closed")
    if (nonce.length !== 12) throw new TypeError("a nonce has 12 bytes")
    if (aad.length > 1024) throw new TypeError("at most 1024 bytes of additional data")
  }

  #range(buffer: Uint8Array, at: number, size: number, tagAt: number): Uint8Array {
    const inside =
      at >= 0 &&
      size >= 0 &&
      at + size <= buffer.length &&
      tagAt >= 0 &&
      tagAt + tagSize <= buffer.length
    if (!inside || !Number.isInteger(at + size + tagAt))
      throw new TypeError("wanted a range inside the buffer")
    return buffer.subarray(at, at + size)
  }
}

function verified(cipher: ReturnType<typeof createDecipheriv>): boolean {
  try {
    cipher.final()
    return true
  } catch {
    return false
  }
}
