import { FfiAead, ffiAeadWorks } from "../sys/index.ts"
import { NodeAead } from "./aead-node.ts"

/**
 * AES-256-GCM under one key: 12-byte nonce, at most 1024 bytes of additional data, 16-byte tag. Never two messages
 * under one nonce: that is the caller's duty. Not for two threads. Offsets out of range are a `TypeError`.
 */
export interface Aead {
  /** From here on another key, 32 bytes, which are copied: for short messages that have one each. */
  setKey(key: Uint8Array): void
  /** Encrypts `size` bytes of `buffer` from `at` in place and writes the tag at `tagAt`. */
  seal(
    nonce: Uint8Array,
    aad: Uint8Array,
    buffer: Uint8Array,
    at: number,
    size: number,
    tagAt: number,
  ): void
  /**
   * Decrypts from `source` into `target` (the same buffer and offset, or memory that does not overlap). False: the tag
   * does not fit, and the target's range is zeros.
   */
  open(
    nonce: Uint8Array,
    aad: Uint8Array,
    source: Uint8Array,
    at: number,
    size: number,
    tagAt: number,
    target: Uint8Array,
    targetAt: number,
  ): boolean
  /** GMAC: the tag over `aad` followed by the range, which stays readable. `aad` must have a fixed length, or hold it. */
  mac(
    nonce: Uint8Array,
    aad: Uint8Array,
    buffer: Uint8Array,
    at: number,
    size: number,
    tagAt: number,
  ): void
  verifyMac(
    nonce: Uint8Array,
    aad: Uint8Array,
    buffer: Uint8Array,
    at: number,
    size: number,
    tagAt: number,
  ): boolean
  /** Wipes and frees the key schedule. Idempotent; also done by the garbage collector, later. */
  close(): void
}

export type AeadBackend = "openssl" | "node"

export const aeadTagSize = 16
export const aeadNonceSize = 12

const best: AeadBackend = ffiAeadWorks() ? "openssl" : "node"

/** The key is 32 bytes and is copied. Keep the object: setting a key costs more than a small frame. */
export function createAead(key: Uint8Array, backend: AeadBackend = best): Aead {
  return backend === "openssl" ? new FfiAead(key) : new NodeAead(key)
}
