import { type ByteString, byteString, displayName, type StructTable } from "../bytes/index.ts"
import { tarFault } from "./fault.ts"

export const blockSize = 512

/** POSIX.1-2017, pax: ustar header block. */
export const headerTable = [
  ["name", 0, 100],
  ["mode", 100, 8],
  ["uid", 108, 8],
  ["gid", 116, 8],
  ["size", 124, 12],
  ["mtime", 136, 12],
  ["checksum", 148, 8],
  ["type", 156, 1],
  ["linkName", 157, 100],
  ["magic", 257, 6],
  ["version", 263, 2],
  ["userName", 265, 32],
  ["groupName", 297, 32],
  ["major", 329, 8],
  ["minor", 337, 8],
  ["prefix", 345, 155],
  ["padding", 500, 12],
] as const satisfies StructTable

export type FieldName = (typeof headerTable)[number][0]

export const fieldPlaces = Object.fromEntries(
  headerTable.map(([name, offset, size]) => [name, { offset, size }]),
) as Readonly<Record<FieldName, { readonly offset: number; readonly size: number }>>

export interface Header {
  readonly position: number
  readonly block: Uint8Array
  /** One character. */
  readonly type: string
  /** With the prefix of ustar. */
  readonly name: ByteString
  readonly linkName: ByteString
  readonly size: number
}

export function field(block: Uint8Array, name: FieldName): Uint8Array {
  const { offset, size } = fieldPlaces[name]
  return block.subarray(offset, offset + size)
}

/** The sum of all bytes, those of the checksum field counted as spaces. */
export function checksumOf(block: Uint8Array): number {
  let sum = 0
  for (const byte of block) sum += byte
  for (const byte of field(block, "checksum")) sum += 0x20 - byte
  return sum
}

// Early tars added signed bytes.
function signedChecksumOf(block: Uint8Array): number {
  return checksumOf(block) - 256 * block.filter((byte) => byte > 127).length + highInChecksum(block)
}

function highInChecksum(block: Uint8Array): number {
  return 256 * field(block, "checksum").filter((byte) => byte > 127).length
}

export function parseHeader(block: Uint8Array, position: number): Header {
  const stored = numberField(block, "checksum", position)
  const sum = checksumOf(block)
  if (stored !== sum && stored !== signedChecksumOf(block)) {
    throw tarFault(position, "tar-checksum", `the checksum ${sum}`, String(stored))
  }
  return {
    position,
    block,
    type: String.fromCharCode(field(block, "type")[0] ?? 0),
    name: nameOf(block, position),
    linkName: textField(block, "linkName"),
    size: numberField(block, "size", position),
  }
}

type Format = "v7" | "ustar" | "gnu" | "star"

function formatOf(block: Uint8Array, position: number): Format {
  const magic = latin1(field(block, "magic")) + latin1(field(block, "version"))
  if (magic === "ustar  \0") return "gnu"
  if (magic.startsWith("ustar\0")) return latin1(block.subarray(508)) === "tar\0" ? "star" : "ustar"
  if (magic === "\0\0\0\0\0\0\0\0") return "v7"
  throw tarFault(
    position,
    "tar-header",
    "the magic of a tar header",
    `'${displayName(magic as ByteString)}'`,
  )
}

function nameOf(block: Uint8Array, position: number): ByteString {
  const name = textField(block, "name")
  const format = formatOf(block, position)
  // GNU tar keeps times where ustar has the prefix; star takes the end of it for times.
  if (format === "gnu" || format === "v7") return name
  const { offset, size } = fieldPlaces.prefix
  const prefix = untilNul(block.subarray(offset, offset + (format === "star" ? 131 : size)))
  return prefix === "" ? name : (`${prefix}/${name}` as ByteString)
}

function textField(block: Uint8Array, name: FieldName): ByteString {
  return untilNul(field(block, name))
}

export function untilNul(bytes: Uint8Array): ByteString {
  const end = bytes.indexOf(0)
  return byteString(end === -1 ? bytes : bytes.subarray(0, end))
}

function latin1(bytes: Uint8Array): ByteString {
  return byteString(bytes)
}

/** A field's number, zero or more, a safe integer. */
export function numberField(block: Uint8Array, name: FieldName, position: number): number {
  const value = parseNumber(field(block, name))
  if (value === undefined || value < 0) {
    const found = `'${displayName(latin1(field(block, name)))}'`
    throw tarFault(position, "tar-number", `a number from 0 to 2^53 as ${name}`, found)
  }
  return value
}

/**
 * Octal digits between spaces and NULs, nothing as zero, or GNU's base-256, where the first bit says so and the second
 * is the sign. Undefined for anything else, and for numbers that are no safe integers.
 */
export function parseNumber(bytes: Uint8Array): number | undefined {
  const first = bytes[0] ?? 0
  if (first < 0x80) return parseOctal(latin1(bytes))
  if (first !== 0x80 && first !== 0xff) return undefined
  let value = first === 0xff ? -1n : 0n
  for (const byte of bytes.subarray(1)) value = (value << 8n) | BigInt(byte)
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : undefined
}

const octal = /^[ \0]*([0-7]*)[ \0]*$/

function parseOctal(text: string): number | undefined {
  const digits = octal.exec(text)?.[1]
  if (digits === undefined) return undefined
  return digits === "" ? 0 : Number.parseInt(digits, 8)
}
