import { type ByteString, bytesOf, utf8 } from "../bytes/index.ts"
import { blockSize, checksumOf, type FieldName, fieldPlaces } from "./header.ts"
import type { Member } from "./member.ts"

/** True when a number fits a field as octal digits with a NUL after them. */
export function fitsOctal(value: number, name: FieldName): boolean {
  return value >= 0 && value < 8 ** (fieldPlaces[name].size - 1)
}

export function fitsText(text: ByteString, name: FieldName): boolean {
  return text.length <= fieldPlaces[name].size
}

/** The ustar block. What does not fit stands in PAX records: names are cut here, and numbers are zero. */
export function encodeHeader(member: Member): Uint8Array {
  const { node, type } = member
  const block = new Uint8Array(blockSize)
  const octal = (name: FieldName, value: number): void => {
    const { offset, size } = fieldPlaces[name]
    const text = (fitsOctal(value, name) ? value : 0).toString(8)
    block.set(utf8(text.padStart(size - 1, "0")), offset)
  }
  const text = (name: FieldName, value: ByteString): void => {
    const { offset, size } = fieldPlaces[name]
    block.set(bytesOf(value.slice(0, size) as ByteString), offset)
  }
  const extended = type === "x"
  const { meta } = node
  text("name", extended ? ("PaxHeaders" as ByteString) : member.name)
  octal("mode", extended ? 0o644 : meta.mode)
  octal("uid", extended ? 0 : meta.uid)
  octal("gid", extended ? 0 : meta.gid)
  octal("size", member.size)
  octal("mtime", extended ? 0 : meta.mtime.seconds)
  text("type", type as ByteString)
  text("linkName", extended ? ("" as ByteString) : member.linkName)
  text("magic", "ustar\0" as ByteString)
  text("version", "00" as ByteString)
  const device = node.kind === "block" || node.kind === "character"
  octal("major", device && !extended ? node.major : 0)
  octal("minor", device && !extended ? node.minor : 0)
  const { offset } = fieldPlaces.checksum
  block.set(utf8(`${checksumOf(block).toString(8).padStart(6, "0")}\0 `), offset)
  return block
}
