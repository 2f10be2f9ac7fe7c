import { Cursor } from "../bytes/index.ts"

export interface LoadSegment {
  /** R 4, W 2, X 1, as in ELF. */
  readonly flags: number
  /** Bytes: in the file, in memory. */
  readonly offset: number
  readonly address: number
  readonly fileSize: number
  readonly memorySize: number
}

export interface NamedSection {
  readonly name: string
  readonly type: number
  readonly offset: number
  readonly size: number
}

export interface ElfFile {
  readonly machine: number
  /** PT_LOAD, in the file's order. */
  readonly segments: readonly LoadSegment[]
  readonly sections: readonly NamedSection[]
}

const format = "ELF file"
const loadType = 1
const noBits = 8

/**
 * A little-endian ELF64 file that somebody else wrote, whole in memory. Every range is checked to be in the file, or it
 * is an `integrity` error. Sealed binaries are not read with this: their head is emitted again and compared.
 */
export function readElf(bytes: Uint8Array): ElfFile {
  const header = new Cursor(bytes, format)
  header.expect(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1), "e_ident")
  header.bytes(9 + 2, "e_ident, e_type")
  const machine = header.u16("e_machine")
  header.bytes(12, "e_version, e_entry")
  const segmentsAt = header.size("e_phoff")
  const sectionsAt = header.size("e_shoff")
  header.bytes(8, "e_flags, e_ehsize, e_phentsize")
  const segmentCount = header.u16("e_phnum")
  header.bytes(2, "e_shentsize")
  const sectionCount = header.u16("e_shnum")
  const namesIndex = header.u16("e_shstrndx")
  return {
    machine,
    segments: readSegments(bytes, segmentsAt, segmentCount),
    sections: readSections(bytes, sectionsAt, sectionCount, namesIndex),
  }
}

function readSegments(bytes: Uint8Array, at: number, count: number): LoadSegment[] {
  const cursor = cursorAt(bytes, at, count * 56, "program headers")
  const segments: LoadSegment[] = []
  for (let i = 0; i < count; i += 1) {
    const type = cursor.u32("p_type")
    const flags = cursor.u32("p_flags")
    const offset = cursor.size("p_offset")
    const address = cursor.size("p_vaddr")
    cursor.bytes(8, "p_paddr")
    const fileSize = cursor.u64("p_filesz")
    const memorySize = cursor.u64("p_memsz")
    cursor.bytes(8, "p_align")
    if (type !== loadType) continue
    const size = checkedSize(cursor, bytes, offset, fileSize, "p_filesz")
    if (memorySize < fileSize || memorySize > 2n ** 40n)
      throw cursor.fault("p_memsz", "at least p_filesz, at most 2^40", String(memorySize))
    segments.push({ flags, offset, address, fileSize: size, memorySize: Number(memorySize) })
  }
  return segments
}

function readSections(
  bytes: Uint8Array,
  at: number,
  count: number,
  namesIndex: number,
): NamedSection[] {
  const cursor = cursorAt(bytes, at, count * 64, "section headers")
  const raw: { readonly name: number; readonly type: number; offset: number; size: number }[] = []
  for (let i = 0; i < count; i += 1) {
    const name = cursor.u32("sh_name")
    const type = cursor.u32("sh_type")
    cursor.bytes(16, "sh_flags, sh_addr")
    const offset = cursor.size("sh_offset")
    const size = cursor.u64("sh_size")
    cursor.bytes(24, "sh_link to sh_entsize")
    const inFile = type === noBits || type === 0 ? 0n : size
    raw.push({ name, type, offset, size: checkedSize(cursor, bytes, offset, inFile, "sh_size") })
  }
  const names = raw[namesIndex]
  const strings =
    names === undefined
      ? bytes.subarray(0, 0)
      : bytes.subarray(names.offset, names.offset + names.size)
  return raw.map(({ name, ...rest }) => ({ name: stringAt(strings, name), ...rest }))
}

function checkedSize(
  cursor: Cursor,
  bytes: Uint8Array,
  offset: number,
  size: bigint,
  field: string,
): number {
  if (size > BigInt(bytes.length) || offset + Number(size) > bytes.length)
    throw cursor.fault(field, "a range in the file", `${size} bytes at ${offset}`)
  return Number(size)
}

function cursorAt(bytes: Uint8Array, at: number, size: number, field: string): Cursor {
  if (at + size > bytes.length)
    throw new Cursor(bytes, format).fault(field, "a range in the file", `${size} bytes at ${at}`)
  return new Cursor(bytes.subarray(at, at + size), format)
}

function stringAt(strings: Uint8Array, at: number): string {
  const end = strings.indexOf(0, at)
  return Buffer.from(strings.subarray(at, end < 0 ? at : Math.min(end, at + 256))).toString(
    "latin1",
  )
}
