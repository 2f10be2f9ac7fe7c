/** Hot path: every row of every request. */
import { createCipheriv, createDecipheriv } from "node:crypto"
import { canonicalJson, concatBytes, type JsonValue, utf8 } from "../bytes/index.ts"
import { hkdfSha256, hmacSha256, labelBytes, randomBytes } from "../crypto/index.ts"
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
  readonly #rowKey: Uint8Array
  readonly #stateKey: Uint8Array

  /** `master`: 32 bytes. */
  constructor(master: Uint8Array) {
    this.#rowKey = hkdfSha256(master, none, labelBytes("casRowKey"), 32)
    this.#stateKey = hkdfSha256(master, none, labelBytes("casStateKey"), 32)
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
    const mac = hmacSha256(this.#stateKey, concatBytes(labelBytes("casRowPlace"), aad(table, key)))
    return Buffer.from(mac.buffer, mac.byteOffset, 8).readBigUInt64BE() || 1n
  }

  #keyOf(salt: Uint8Array): Uint8Array {
    return hmacSha256(this.#rowKey, salt.subarray(0, saltSize))
  }

  /**
   * The row's part in the state sum: a keyed multiset hash (sum of MACs modulo 2^256). It moves with every change, so a
   * single row that the disk puts back, or drops, does not fit the head any more.
   */
  weight(table: Table, key: string, sealed: Uint8Array | undefined): bigint {
    if (sealed === undefined) return 0n
    const mac = hmacSha256(this.#stateKey, concatBytes(aad(table, key), sealed))
    return BigInt(`0x${Buffer.from(mac).toString("hex")}`)
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
