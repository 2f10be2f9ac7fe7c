/** Hot path: every row of every request. */
import { createCipheriv, createDecipheriv, hash } from "node:crypto"
import { canonicalJson, type JsonValue, utf8 } from "../bytes/index.ts"
import { hkdfSha256, labelBytes, randomBytes } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"
import type { Table } from "./store/backend.ts"

const saltSize = 16
const nonceSize = 12
const tagSize = 16
const mask = (1n << 256n) - 1n
const none = new Uint8Array()

/**
 * Rows at rest: AES-256-GCM under a key of their own each, HMAC(row key, salt), so that no number of rows wears a key
 * out. AAD is table and key: a row moved to another place does not open.
 */
export class RowSealer {
  readonly #deriveKey: (salt: Uint8Array) => Uint8Array
  readonly #weigh: (table: Table, key: string, sealed: Uint8Array) => string
  readonly #locate: (name: string) => string

  /** `master`: 32 bytes. */
  constructor(master: Uint8Array) {
    const derive = quickHmac(hkdfSha256(master, none, labelBytes("casRowKey"), 32))
    this.#deriveKey = (salt) => Buffer.from(derive("", salt), "hex")
    const stateKey = hkdfSha256(master, none, labelBytes("casStateKey"), 32)
    const [weigh, locate] = [quickHmac(stateKey), quickHmac(stateKey, labelBytes("casRowPlace"))]
    this.#weigh = (table, key, sealed) => weigh(`${table}\0${key}\0`, sealed)
    this.#locate = (name) => locate(name, none)
  }

  seal(table: Table, key: string, value: JsonValue): Uint8Array {
    const salt = randomBytes(saltSize + nonceSize)
    const cipher = createCipheriv("aes-256-gcm", this.#keyOf(salt), salt.subarray(saltSize))
    cipher.setAAD(aad(table, key))
    return Buffer.concat([
      salt,
      cipher.update(canonicalJson(value)),
      cipher.final(),
      cipher.getAuthTag(),
    ])
  }

  open(table: Table, key: string, sealed: Uint8Array): unknown {
    try {
      const nonce = sealed.subarray(saltSize, saltSize + nonceSize)
      const decipher = createDecipheriv("aes-256-gcm", this.#keyOf(sealed), nonce, {
        authTagLength: tagSize,
      })
      decipher.setAAD(aad(table, key))
      decipher.setAuthTag(sealed.subarray(-tagSize))
      const body = decipher.update(sealed.subarray(saltSize + nonceSize, -tagSize))
      return JSON.parse(Buffer.concat([body, decipher.final()]).toString("utf8"))
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
 * HMAC-SHA256 of `prefix ‖ text ‖ bytes` in hex, by two one-shot hashes over one reused buffer: a third of the time of
 * an Hmac object, and verification makes two for each row of the database.
 */
function quickHmac(
  key: Uint8Array,
  prefix: Uint8Array = none,
): (text: string, bytes: Uint8Array) => string {
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
    outer.set(hash("sha256", inner.subarray(0, at + bytes.length), "buffer"), blockSize)
    return hash("sha256", outer, "hex")
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
