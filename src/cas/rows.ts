/** Hot path: every row of every request. */
import { hash } from "node:crypto"
import { canonicalJson, type JsonValue, utf8 } from "../bytes/index.ts"
import { createAead, hkdfSha256, labelBytes, randomBytes } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"
import type { Table } from "./store/backend.ts"

const saltSize = 16
const nonceSize = 12
const tagSize = 16
const bodyAt = saltSize + nonceSize
const mask = (1n << 256n) - 1n
const none = new Uint8Array()

/** What a row is at rest, and what it counts for in the state. */
export type Rows = Pick<RowSealer, "seal" | "open" | "place" | "weight">

/**
 * Rows at rest: AES-256-GCM under a key of their own each, HMAC(row key, salt), so that no number of rows wears a key
 * out. AAD is table and key: a row moved to another place does not open.
 */
export class RowSealer {
  readonly #deriveKey: (salt: Uint8Array) => Uint8Array
  readonly #cipher = createAead(new Uint8Array(32))
  readonly #weigh: (table: Table, key: string, sealed: Uint8Array) => string
  readonly #locate: (name: string) => string

  /** `master`: 32 bytes. */
  constructor(master: Uint8Array) {
    const derive = quickHmac(hkdfSha256(master, none, labelBytes("casRowKey"), 32))
    this.#deriveKey = (salt) => Buffer.from(hash("sha256", derive("", salt), "latin1"), "latin1")
    const stateKey = hkdfSha256(master, none, labelBytes("casStateKey"), 32)
    const [weigh, locate] = [quickHmac(stateKey), quickHmac(stateKey, labelBytes("casRowPlace"))]
    this.#weigh = (table, key, sealed) => hash("sha256", weigh(`${table}\0${key}\0`, sealed), "hex")
    this.#locate = (name) => hash("sha256", locate(name, none), "hex")
  }

  seal(table: Table, key: string, value: JsonValue): Uint8Array {
    const salt = randomBytes(bodyAt)
    const body = canonicalJson(value)
    const sealed = new Uint8Array(bodyAt + body.length + tagSize)
    sealed.set(salt)
    sealed.set(body, bodyAt)
    this.#cipher.setKey(this.#keyOf(salt))
    const nonce = salt.subarray(saltSize)
    this.#cipher.seal(nonce, aad(table, key), sealed, bodyAt, body.length, bodyAt + body.length)
    return sealed
  }

  open(table: Table, key: string, sealed: Uint8Array): unknown {
    try {
      const body = Buffer.allocUnsafe(sealed.length - bodyAt - tagSize)
      this.#cipher.setKey(this.#keyOf(sealed))
      const nonce = sealed.subarray(saltSize, bodyAt)
      const [size, tagAt] = [body.length, bodyAt + body.length]
      if (!this.#cipher.open(nonce, aad(table, key), sealed, bodyAt, size, tagAt, body, 0))
        throw new TypeError("the tag does not fit")
      return JSON.parse(body.toString("utf8"))
    } catch (cause) {
      throw new CofferError(
        "integrity",
        `CAS database: ${table} ${key}: wanted a row sealed under this master key, found another`,
        {
          cause,
          reason: "row-sealed",
          hint: "is it the right --master-key file for this database?",
        },
      )
    }
  }

  /** Where a row stands, as 64 bits that nobody without the key can aim at. */
  place(table: Table, key: string): bigint {
    return BigInt(`0x${this.#locate(`${table}\0${key}\0`).slice(0, 16)}`) || 1n
  }

  #keyOf(salt: Uint8Array): Uint8Array {
    return this.#deriveKey(salt.subarray(0, saltSize))
  }

  /**
   * The row's part in the state sum: a keyed multiset hash (sum of MACs modulo 2^256). It moves with every change, so a
   * single row that the disk puts back, or drops, does not fit the head any more.
   */
  weight(table: Table, key: string, sealed: Uint8Array | undefined): bigint {
    if (sealed === undefined) return 0n
    return BigInt(`0x${this.#weigh(table, key, sealed)}`)
  }
}

const blockSize = 64

/**
 * HMAC-SHA256 of `prefix ‖ text ‖ bytes`, by two one-shot hashes over one reused buffer: a third of the time of an Hmac
 * object, and verification makes two for each row of the database. The second hash, over what is returned, is the caller's.
 */
function quickHmac(
  key: Uint8Array,
  prefix: Uint8Array = none,
): (text: string, bytes: Uint8Array) => Uint8Array {
  const outer = Buffer.alloc(blockSize + 32, 0x5c)
  const start = blockSize + prefix.length
  let inner = Buffer.alloc(4096)
  const begin = (): void => {
    inner.fill(0x36, 0, blockSize)
    for (const [i, byte] of key.entries()) inner[i] = 0x36 ^ byte
    inner.set(prefix, blockSize)
  }
  for (const [i, byte] of key.entries()) outer[i] = 0x5c ^ byte
  begin()
  return (text, bytes) => {
    const most = start + text.length * 3 + bytes.length
    if (most > inner.length) {
      inner = Buffer.alloc(most * 2)
      begin()
    }
    const at = start + inner.write(text, start, "utf8")
    inner.set(bytes, at)
    outer.write(hash("sha256", inner.subarray(0, at + bytes.length), "latin1"), blockSize, "latin1")
    return outer
  }
}

export function addWeight(sum: bigint, weight: bigint): bigint {
  return (sum + weight) & mask
}

export function subtractWeight(sum: bigint, weight: bigint): bigint {
  return (sum - weight) & mask
}

function aad(table: Table, key: string): Uint8Array {
  return utf8(`${table}\0${key}\0`)
}
