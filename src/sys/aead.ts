// Hot path: three or four calls a frame, no allocation but the pointers. Measured on 64 bytes: 2.6 µs, where the same calls
// declared as C has them took 6.7 µs, and `node:crypto` takes 3.5 µs and 0.3 µs more for each KiB.
import ffi from "node:ffi"

const pointer = "pointer"
const address = "uint64"
const int = "int32"
/**
 * Node.js has a fast way to call functions of up to three arguments, a quick one for those with more arguments than a
 * processor has registers for, all of them numbers, and a slow one for what is between, which most of OpenSSL's
 * are. So these are given zeros behind their own arguments: a C function does not look at them.
 */
const unused = "int8"

// OpenSSL as it is linked into the node binary: evp.h.
function openCrypto() {
  return ffi.dlopen(null, {
    EVP_CIPHER_CTX_new: { arguments: [], return: pointer },
    EVP_CIPHER_CTX_free: { arguments: [pointer], return: "void" },
    EVP_aes_256_gcm: { arguments: [], return: pointer },
    EVP_CipherInit_ex2: {
      arguments: [address, address, address, address, int, address, unused],
      return: int,
    },
    EVP_CipherUpdate: {
      arguments: [address, address, address, address, int, unused, unused],
      return: int,
    },
    EVP_CipherFinal_ex: { arguments: [pointer, pointer, pointer], return: int },
    EVP_CIPHER_CTX_get_params: { arguments: [pointer, pointer], return: int },
  } as const).functions
}

const nonceSize = 12
const tagSize = 16
const aadMax = 1024

// What stands where in the scratch memory.
const sizeAt = 16
const keyNameAt = 24
const tagParamAt = 32
const restAt = 120
const aadAt = 256
// OSSL_PARAM: key, data type, data, its size, return size. A second one without a key ends the list.
const paramSize = 40
const octetString = 5

type Crypto = ReturnType<typeof openCrypto>
let crypto: Crypto | undefined
let scratch: Uint8Array
let noncePointer: bigint
let aadPointer: bigint
let sizePointer: bigint
let tagParamPointer: bigint
let restPointer: bigint
/** Where the parameter "tag" says that the tag stands. */
let tagAddress: BigUint64Array

function load(): Crypto {
  if (crypto !== undefined) return crypto
  // An ArrayBuffer of its own: small typed arrays may live in the moving heap, and these addresses are kept.
  const memory = new ArrayBuffer(2048)
  const base = ffi.getRawPointer(memory)
  scratch = new Uint8Array(memory)
  noncePointer = base
  sizePointer = base + BigInt(sizeAt)
  tagParamPointer = base + BigInt(tagParamAt)
  restPointer = base + BigInt(restAt)
  aadPointer = base + BigInt(aadAt)
  scratch.set([0x74, 0x61, 0x67], keyNameAt) // "tag"
  const param = new BigUint64Array(memory, tagParamAt, paramSize / 8)
  param.set([base + BigInt(keyNameAt), BigInt(octetString), 0n, BigInt(tagSize), 0n])
  tagAddress = new BigUint64Array(memory, tagParamAt + 16, 1)
  crypto = openCrypto()
  return crypto
}

const owners = new FinalizationRegistry<readonly [bigint, bigint]>(([sealing, opening]) => {
  load().EVP_CIPHER_CTX_free(sealing)
  load().EVP_CIPHER_CTX_free(opening)
})

function check(result: number, step: string): void {
  if (result !== 1) throw new Error(`openssl refused ${step}`)
}

/** AES-256-GCM with one key and two reused OpenSSL contexts, in place. See `Aead` in `src/crypto` for what each verb promises. */
export class FfiAead {
  readonly #crypto: Crypto = load()
  readonly #sealing: bigint
  readonly #opening: bigint
  readonly #key = new Uint8Array(new ArrayBuffer(32))
  readonly #keyPointer = ffi.getRawPointer(this.#key.buffer)
  /** Which context has had the key: it goes there with the first nonce. */
  #toldSealing = false
  #toldOpening = false
  #open = true

  constructor(key: Uint8Array) {
    this.#sealing = this.#context(1)
    this.#opening = this.#context(0)
    owners.register(this, [this.#sealing, this.#opening], this)
    this.setKey(key)
  }

  #context(encrypt: number): bigint {
    const context = this.#crypto.EVP_CIPHER_CTX_new()
    if (context === 0n) throw new Error("openssl has no memory for a cipher")
    const cipher = this.#crypto.EVP_aes_256_gcm()
    check(this.#crypto.EVP_CipherInit_ex2(context, cipher, 0n, 0n, encrypt, 0n, 0), "the cipher")
    return context
  }

  setKey(key: Uint8Array): void {
    if (key.length !== 32) throw new TypeError("an AES-256 key has 32 bytes")
    if (!this.#open) throw new TypeError("the cipher is closed")
    this.#key.set(key)
    this.#toldSealing = false
    this.#toldOpening = false
  }

  /** Where the key is that this context has not had yet; 0: it has. */
  #newKey(context: bigint): bigint {
    if (context === this.#sealing) {
      if (this.#toldSealing) return 0n
      this.#toldSealing = true
    } else {
      if (this.#toldOpening) return 0n
      this.#toldOpening = true
    }
    return this.#keyPointer
  }

  seal(
    nonce: Uint8Array,
    aad: Uint8Array,
    buffer: Uint8Array,
    at: number,
    size: number,
    tagAt: number,
  ): void {
    bounds(buffer, at, size, tagAt)
    const base = sources.of(buffer)
    const text = base + BigInt(at)
    this.#begin(this.#sealing, nonce, aad, 0n)
    if (size > 0) this.#update(this.#sealing, text, text, size)
    this.#end(this.#sealing, base + BigInt(tagAt))
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
    bounds(source, at, size, tagAt)
    if (targetAt < 0 || targetAt + size > target.length)
      throw new TypeError("open: target too small")
    const base = sources.of(source)
    const to = target === source ? base : targets.of(target)
    tagAddress[0] = base + BigInt(tagAt)
    this.#begin(this.#opening, nonce, aad, tagParamPointer)
    if (size > 0) this.#update(this.#opening, to + BigInt(targetAt), base + BigInt(at), size)
    if (this.#verify()) return true
    target.fill(0, targetAt, targetAt + size) // nothing that did not verify may be seen
    return false
  }

  mac(
    nonce: Uint8Array,
    aad: Uint8Array,
    buffer: Uint8Array,
    at: number,
    size: number,
    tagAt: number,
  ): void {
    bounds(buffer, at, size, tagAt)
    const base = sources.of(buffer)
    this.#begin(this.#sealing, nonce, aad, 0n)
    if (size > 0) this.#update(this.#sealing, 0n, base + BigInt(at), size)
    this.#end(this.#sealing, base + BigInt(tagAt))
  }

  verifyMac(
    nonce: Uint8Array,
    aad: Uint8Array,
    buffer: Uint8Array,
    at: number,
    size: number,
    tagAt: number,
  ): boolean {
    bounds(buffer, at, size, tagAt)
    const base = sources.of(buffer)
    tagAddress[0] = base + BigInt(tagAt)
    this.#begin(this.#opening, nonce, aad, tagParamPointer)
    if (size > 0) this.#update(this.#opening, 0n, base + BigInt(at), size)
    return this.#verify()
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    this.#key.fill(0)
    owners.unregister(this)
    this.#crypto.EVP_CIPHER_CTX_free(this.#sealing)
    this.#crypto.EVP_CIPHER_CTX_free(this.#opening)
  }

  /** `params`: the tag that is wanted, or none. */
  #begin(context: bigint, nonce: Uint8Array, aad: Uint8Array, params: bigint): void {
    if (!this.#open) throw new TypeError("the cipher is closed")
    if (nonce.length !== nonceSize) throw new TypeError("a nonce has 12 bytes")
    if (aad.length > aadMax) throw new TypeError("at most 1024 bytes of additional data")
    scratch.set(nonce, 0)
    const { EVP_CipherInit_ex2: begin } = this.#crypto
    check(begin(context, 0n, this.#newKey(context), noncePointer, -1, params, 0), "the nonce")
    if (aad.length === 0) return
    scratch.set(aad, aadAt)
    this.#update(context, 0n, aadPointer, aad.length)
  }

  /** `to` 0: additional data. */
  #update(context: bigint, to: bigint, from: bigint, size: number): void {
    check(this.#crypto.EVP_CipherUpdate(context, to, sizePointer, from, size, 0, 0), "the data")
  }

  #end(context: bigint, tag: bigint): void {
    check(this.#crypto.EVP_CipherFinal_ex(context, restPointer, sizePointer), "to end")
    tagAddress[0] = tag
    check(this.#crypto.EVP_CIPHER_CTX_get_params(context, tagParamPointer), "the tag")
  }

  #verify(): boolean {
    return this.#crypto.EVP_CipherFinal_ex(this.#opening, restPointer, sizePointer) === 1
  }
}

/** Smaller ones may live in the moving heap until somebody asks for their memory. */
const movingMost = 64

/** Addresses of memory, which does not move as long as it lives; the one asked for last is kept. */
class Addresses {
  #memory: ArrayBufferLike | undefined
  #base = 0n

  of(bytes: Uint8Array): bigint {
    if (bytes.length <= movingMost) return ffi.getRawPointer(bytes)
    const { buffer, byteOffset } = bytes
    if (buffer !== this.#memory) {
      this.#base = ffi.getRawPointer(bytes) - BigInt(byteOffset)
      this.#memory = buffer
    }
    return byteOffset === 0 ? this.#base : this.#base + BigInt(byteOffset)
  }
}

const sources = new Addresses()
const targets = new Addresses()

// A wrong offset would be a write outside of the buffer, so each is checked.
function bounds(buffer: Uint8Array, at: number, size: number, tagAt: number): void {
  if (
    !(at >= 0 && size >= 0 && at + size <= buffer.length) ||
    !(tagAt >= 0 && tagAt + tagSize <= buffer.length) ||
    !(Number.isInteger(at) && Number.isInteger(size) && Number.isInteger(tagAt))
  )
    throw new TypeError(
      `wanted a range inside ${buffer.length} bytes, found ${at}+${size}, tag ${tagAt}`,
    )
}

/** False when this Node has no usable `node:ffi`, or its OpenSSL does not show these functions. */
export function ffiAeadWorks(): boolean {
  try {
    load()
    return true
  } catch {
    return false
  }
}
