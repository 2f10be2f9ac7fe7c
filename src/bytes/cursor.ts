import { CofferError } from "../errors.ts"
import { isZero, toHex } from "./plain.ts"

/**
 * Reads a format from front to back. Little-endian unless the method says `Be`. Every read past the end is an
 * `integrity` error that names the format and the field.
 */
export class Cursor {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #format: string
  #at = 0

  constructor(bytes: Uint8Array, format: string) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    this.#format = format
  }

  get offset(): number {
    return this.#at
  }

  get remaining(): number {
    return this.#bytes.length - this.#at
  }

  u8(field: string): number {
    return this.#view.getUint8(this.#take(1, field))
  }

  u16(field: string): number {
    return this.#view.getUint16(this.#take(2, field), true)
  }

  u32(field: string): number {
    return this.#view.getUint32(this.#take(4, field), true)
  }

  u64(field: string): bigint {
    return this.#view.getBigUint64(this.#take(8, field), true)
  }

  /** A u64 that must be a safe integer (below 2^53), as sizes and offsets must. */
  size(field: string): number {
    const value = this.u64(field)
    if (value > BigInt(Number.MAX_SAFE_INTEGER))
      throw this.fault(field, "less than 2^53", String(value))
    return Number(value)
  }

  u16Be(field: string): number {
    return this.#view.getUint16(this.#take(2, field))
  }

  u32Be(field: string): number {
    return this.#view.getUint32(this.#take(4, field))
  }

  u64Be(field: string): bigint {
    return this.#view.getBigUint64(this.#take(8, field))
  }

  /** A view, not a copy. */
  bytes(size: number, field: string): Uint8Array {
    const at = this.#take(size, field)
    return this.#bytes.subarray(at, at + size)
  }

  zeros(size: number, field: string): void {
    const found = this.bytes(size, field)
    if (!isZero(found)) throw this.fault(field, `${size} zero bytes`, toHex(found.subarray(0, 32)))
  }

  expect(want: Uint8Array, field: string): void {
    const have = this.bytes(want.length, field)
    if (Buffer.compare(want, have) !== 0) throw this.fault(field, toHex(want), toHex(have))
  }

  end(): void {
    if (this.remaining !== 0) throw this.fault("end", "no more bytes", `${this.remaining} more`)
  }

  fault(field: string, want: string, have: string): CofferError {
    return new CofferError(
      "integrity",
      `${this.#format}: ${field}: wanted ${want}, found ${have}`,
      {
        facts: { format: this.#format, field, offset: this.#at },
      },
    )
  }

  #take(size: number, field: string): number {
    if (size < 0 || size > this.remaining) {
      throw this.fault(field, `${size} bytes at offset ${this.#at}`, `${this.remaining} bytes`)
    }
    const at = this.#at
    this.#at += size
    return at
  }
}
