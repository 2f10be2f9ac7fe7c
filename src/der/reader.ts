import { toHex } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"

/** One DER value: tag, its content, and all of its bytes with the header. Views, not copies. */
export interface DerValue {
  readonly tag: number
  readonly content: Uint8Array
  readonly raw: Uint8Array
}

export const tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const

/** Context-specific tag `n`; `constructed` for explicit ones. */
export function context(n: number, constructed = true): number {
  return 0x80 | (constructed ? 0x20 : 0) | n
}

/**
 * Reads DER (X.690, section 10) from front to back. Strict: definite lengths in their shortest form, tags below 31, no
 * trailing bytes (call `end`). `where` names the place for messages.
 */
export class DerReader {
  readonly #bytes: Uint8Array
  readonly #where: string
  #at = 0

  constructor(bytes: Uint8Array, where: string) {
    this.#bytes = bytes
    this.#where = where
  }

  get more(): boolean {
    return this.#at < this.#bytes.length
  }

  /** The tag of the next value; undefined at the end. */
  get peek(): number | undefined {
    return this.#bytes[this.#at]
  }

  fault(field: string, want: string, have: string): CofferError {
    return new CofferError("integrity", `${this.#where}: ${field}: wanted ${want}, found ${have}`, {
      facts: { format: this.#where, field, offset: this.#at },
    })
  }

  any(field: string): DerValue {
    const start = this.#at
    const first = this.#byte(field)
    if ((first & 0x1f) === 0x1f) throw this.fault(field, "a tag below 31", "a longer tag")
    const size = this.#length(field)
    if (size > this.#bytes.length - this.#at)
      throw this.fault(field, `${size} bytes`, `${this.#bytes.length - this.#at}`)
    const content = this.#bytes.subarray(this.#at, this.#at + size)
    this.#at += size
    return { tag: first, content, raw: this.#bytes.subarray(start, this.#at) }
  }

  read(want: number, field: string): DerValue {
    const value = this.any(field)
    if (value.tag !== want) throw this.fault(field, `tag ${hexTag(want)}`, hexTag(value.tag))
    return value
  }

  /** The next value when it has this tag. */
  optional(want: number, field: string): DerValue | undefined {
    return this.peek === want ? this.any(field) : undefined
  }

  /** A reader over the content of the next value, which must have this tag. */
  inside(want: number, field: string): DerReader {
    return new DerReader(this.read(want, field).content, `${this.#where}: ${field}`)
  }

  /** A reader over bytes that were read from here, for the same place. */
  over(bytes: Uint8Array, field: string): DerReader {
    return new DerReader(bytes, `${this.#where}: ${field}`)
  }

  end(): void {
    if (this.more) throw this.fault("end", "no more bytes", `${this.#bytes.length - this.#at} more`)
  }

  /** A whole number of any size, minimal, not negative, as its bytes without the sign byte. */
  unsigned(field: string): Uint8Array {
    const { content } = this.read(tag.integer, field)
    return this.#magnitude(content, field)
  }

  /** A whole number from 0 to 2^31 - 1. */
  small(field: string, want: number = tag.integer): number {
    const magnitude = this.#magnitude(this.read(want, field).content, field)
    if (magnitude.length > 4) throw this.fault(field, "a small number", toHex(magnitude))
    const value = magnitude.reduce((sum, byte) => sum * 256 + byte, 0)
    if (value > 0x7fffffff) throw this.fault(field, "a number below 2^31", String(value))
    return value
  }

  boolean(field: string): boolean {
    const { content } = this.read(tag.boolean, field)
    if (content.length !== 1 || (content[0] !== 0 && content[0] !== 0xff))
      throw this.fault(field, "00 or ff", toHex(content))
    return content[0] === 0xff
  }

  octets(field: string): Uint8Array {
    return this.read(tag.octetString, field).content
  }

  /** A bit string of whole bytes. */
  bits(field: string): Uint8Array {
    const { content } = this.read(tag.bitString, field)
    if (content[0] !== 0) throw this.fault(field, "no unused bits", toHex(content.subarray(0, 1)))
    return content.subarray(1)
  }

  /** Dotted decimal. */
  oid(field: string): string {
    const { content } = this.read(tag.oid, field)
    const parts: number[] = []
    let value = 0
    let fresh = true
    for (const byte of content) {
      if (fresh && byte === 0x80) throw this.fault(field, "a minimal object identifier", "padding")
      value = value * 128 + (byte & 0x7f)
      if (value > Number.MAX_SAFE_INTEGER)
        throw this.fault(field, "arcs below 2^53", toHex(content))
      fresh = (byte & 0x80) === 0
      if (!fresh) continue
      parts.push(value)
      value = 0
    }
    const [first] = parts
    if (first === undefined || !fresh)
      throw this.fault(field, "an object identifier", toHex(content))
    const root = Math.min(2, Math.floor(first / 40))
    return [root, first - 40 * root, ...parts.slice(1)].join(".")
  }

  /** UTCTime or GeneralizedTime, in UTC with seconds (RFC 5280, 4.1.2.5), as unix seconds. */
  time(field: string): number {
    const value = this.any(field)
    const text = Buffer.from(value.content).toString("latin1")
    const digits = value.tag === tag.utcTime ? fullYear(text) : text
    const match =
      value.tag === tag.utcTime || value.tag === tag.generalizedTime
        ? /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/.exec(digits)
        : null
    if (match === null)
      throw this.fault(field, "a time in UTC with seconds", text.replaceAll(/[^ -~]/g, "?"))
    const [year, month, day, hour, minute, second] = match.slice(1)
    const iso = `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`
    const date = new Date(iso)
    // A date such as February 30 rolls over, or is no date at all: then its text is not the same.
    if (Number.isNaN(date.getTime()) || date.toISOString() !== iso)
      throw this.fault(field, "a date that exists", text)
    return date.getTime() / 1000
  }

  #magnitude(content: Uint8Array, field: string): Uint8Array {
    const [first, second] = content
    if (first === undefined) throw this.fault(field, "an integer", "no bytes")
    if ((first & 0x80) !== 0)
      throw this.fault(field, "a number that is not negative", toHex(content))
    if (first !== 0 || second === undefined) return content
    if ((second & 0x80) === 0) throw this.fault(field, "a minimal integer", toHex(content))
    return content.subarray(1)
  }

  #byte(field: string): number {
    const byte = this.#bytes[this.#at]
    if (byte === undefined) throw this.fault(field, "a value", "the end")
    this.#at += 1
    return byte
  }

  #length(field: string): number {
    const first = this.#byte(field)
    if (first < 0x80) return first
    const count = first & 0x7f
    if (count === 0 || count > 4) throw this.fault(field, "a definite length", hexTag(first))
    let size = 0
    for (let i = 0; i < count; i += 1) size = size * 256 + this.#byte(field)
    if (size < 0x80 || size < 256 ** (count - 1))
      throw this.fault(field, "the shortest form of a length", `${size} in ${count} bytes`)
    return size
  }
}

// RFC 5280, 4.1.2.5.1: two digits stand for 1950 to 2049.
function fullYear(text: string): string {
  return `${Number(text.slice(0, 2)) < 50 ? "20" : "19"}${text}`
}

function hexTag(value: number): string {
  return `0x${value.toString(16).padStart(2, "0")}`
}
