/**
 * Cryptography: hashes, HKDF, AEAD, and every label in one file.
 *
 * Promises: no label is used twice; secrets are compared in constant time; the fast path (`sys`, OpenSSL by FFI) and the
 * `node:crypto` path give the same bytes and pass the same tests.
 */
export { type Aead, type AeadBackend, aeadNonceSize, aeadTagSize, createAead } from "./aead.ts"
export {
  equalSecret,
  hkdfSha256,
  hmacSha256,
  randomBytes,
  Sha256,
  sha256,
  sha384,
  sha512,
} from "./hash.ts"
export { type Label, labelBytes, labels } from "./labels.ts"
