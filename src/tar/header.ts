// Hot path: one turn for each member of a layer.
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
  /** Good until the next header is read. */
  readonly block: Buffer
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
  const { offset, size } = fieldPlaces.checksum
  let sum = 0x20 * size
  for (let i = 0; i < offset; i += 1) sum += block[i] as number
  for (let i = offset + size; i < block.length; i += 1) sum += block[i] as number
  return sum
}

// Early tars added signed bytes.
function signedChecksumOf(block: Uint8Array): number {
  return checksumOf(block) - 256 * block.filter((byte) => byte > 127).length + highInChecksum(block)
}

function highInChecksum(block: Uint8Array): number {
  return 256 * field(block, "checksum").filter((byte) => byte > 127).length
}

export function parseHeader(block: Buffer, position: number): Header {
  const stored = numberField(block, "checksum", position)
  const sum = checksumOf(block)
  if (stored !== sum && stored !== signedChecksumOf(block)) {
    throw tarFault(position, "tar-checksum", `the checksum ${sum}`, String(stored))
  }
  return {
    position,
    block,
    type: String.fromCharCode(block[fieldPlaces.type.offset] ?? 0),
    name: nameOf(block, position),
    linkName: textField(block, "linkName"),
    size: numberField(block, "size", position),
  }
}

/** With the version. */
const magicSize = 8

type Format = "v7" | "ustar" | "gnu" | "star"

function formatOf(block: Buffer, position: number): Format {
  const { offset } = fieldPlaces.magic
  const magic = block.toString("latin1", offset, offset + magicSize)
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

function nameOf(block: Buffer, position: number): ByteString {
  const name = textField(block, "name")
  const format = formatOf(block, position)
  // GNU tar keeps times where ustar has the prefix; star takes the end of it for times.
  if (format === "gnu" || format === "v7") return name
  const { offset, size } = fieldPlaces.prefix
  const prefix = textAt(block, offset, format === "star" ? 131 : size)
  return prefix === "" ? name : (`${prefix}/${name}` as ByteString)
}

function textField(block: Buffer, name: FieldName): ByteString {
  const { offset, size } = fieldPlaces[name]
  return textAt(block, offset, size)
}

function textAt(block: Buffer, offset: number, size: number): ByteString {
  let end = offset
  while (end < offset + size && block[end] !== 0) end += 1
  return block.toString("latin1", offset, end) as ByteString
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
  if (first < 0x80) return parseOctal(bytes)
  if (first !== 0x80 && first !== 0xff) return undefined
  let value = first === 0xff ? -1n : 0n
  for (const byte of bytes.subarray(1)) value = (value << 8n) | BigInt(byte)
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : undefined
}

function parseOctal(bytes: Uint8Array): number | undefined {
  let at = afterPadding(bytes, 0)
  let value = 0
  for (let digit = digitAt(bytes, at); digit !== undefined; digit = digitAt(bytes, at)) {
    value = value * 8 + digit
    at += 1
  }
  return afterPadding(bytes, at) === bytes.length ? value : undefined
}

function afterPadding(bytes: Uint8Array, start: number): number {
  let at = start
  while (bytes[at] === 0x20 || bytes[at] === 0) at += 1
  return at
}

function digitAt(bytes: Uint8Array, at: number): number | undefined {
  const digit = (bytes[at] ?? 0) - 0x30
  return digit >= 0 && digit < 8 ? digit : undefined
}
