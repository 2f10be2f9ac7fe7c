import { concatBytes, fromHex, utf8 } from "../bytes/index.ts"

/** The little DER that certificates need: writing only. */
export function tlv(tag: number, ...content: readonly Uint8Array[]): Uint8Array {
  const body = concatBytes(...content)
  return concatBytes(new Uint8Array([tag]), lengthOf(body.length), body)
}

function lengthOf(size: number): Uint8Array {
  if (size < 0x80) return new Uint8Array([size])
  const hex = size.toString(16)
  const bytes = fromHex(hex.length % 2 === 0 ? hex : `0${hex}`) ?? new Uint8Array()
  return concatBytes(new Uint8Array([0x80 | bytes.length]), bytes)
}

export const sequence = (...parts: readonly Uint8Array[]): Uint8Array => tlv(0x30, ...parts)
export const set = (...parts: readonly Uint8Array[]): Uint8Array => tlv(0x31, ...parts)
export const octets = (bytes: Uint8Array): Uint8Array => tlv(0x04, bytes)
export const bitString = (bytes: Uint8Array, unused = 0): Uint8Array =>
  tlv(0x03, new Uint8Array([unused]), bytes)
export const utf8String = (text: string): Uint8Array => tlv(0x0c, utf8(text))
export const derTrue = new Uint8Array([0x01, 0x01, 0xff])

/** A positive integer from big-endian bytes. */
export function integer(bytes: Uint8Array): Uint8Array {
  let at = 0
  while (at < bytes.length - 1 && bytes[at] === 0) at += 1
  const rest = bytes.subarray(at)
  return tlv(0x02, ((rest[0] ?? 0) & 0x80) === 0 ? rest : concatBytes(new Uint8Array([0]), rest))
}

export function oid(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number)
  return tlv(0x06, new Uint8Array([first * 40 + second, ...rest.flatMap(base128)]))
}

function base128(value: number): number[] {
  const out = [value & 0x7f]
  for (let left = Math.floor(value / 128); left > 0; left = Math.floor(left / 128))
    out.unshift((left & 0x7f) | 0x80)
  return out
}

/** RFC 5280: UTCTime to 2049, GeneralizedTime after it. */
export function time(ms: number): Uint8Array {
  const digits = new Date(ms).toISOString().replaceAll(/[-:T]|\.\d+/g, "")
  return Number(digits.slice(0, 4)) < 2050
    ? tlv(0x17, utf8(digits.slice(2)))
    : tlv(0x18, utf8(digits))
}
