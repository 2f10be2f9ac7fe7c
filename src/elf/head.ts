import { type StructTable, structSize, utf8 } from "../bytes/index.ts"
import { baseAddress, type Machine, machineConstants } from "./machine.ts"

export const fileHeader = [
  ["e_ident", 0, 16],
  ["e_type", 16, 2],
  ["e_machine", 18, 2],
  ["e_version", 20, 4],
  ["e_entry", 24, 8],
  ["e_phoff", 32, 8],
  ["e_shoff", 40, 8],
  ["e_flags", 48, 4],
  ["e_ehsize", 52, 2],
  ["e_phentsize", 54, 2],
  ["e_phnum", 56, 2],
  ["e_shentsize", 58, 2],
  ["e_shnum", 60, 2],
  ["e_shstrndx", 62, 2],
] as const satisfies StructTable

export const programHeader = [
  ["p_type", 0, 4],
  ["p_flags", 4, 4],
  ["p_offset", 8, 8],
  ["p_vaddr", 16, 8],
  ["p_paddr", 24, 8],
  ["p_filesz", 32, 8],
  ["p_memsz", 40, 8],
  ["p_align", 48, 8],
] as const satisfies StructTable

export const sectionHeader = [
  ["sh_name", 0, 4],
  ["sh_type", 4, 4],
  ["sh_flags", 8, 8],
  ["sh_addr", 16, 8],
  ["sh_offset", 24, 8],
  ["sh_size", 32, 8],
  ["sh_link", 40, 4],
  ["sh_info", 44, 4],
  ["sh_addralign", 48, 8],
  ["sh_entsize", 56, 8],
] as const satisfies StructTable

export const sectionTypes = { data: 1, strings: 3, note: 7 } as const

export interface ElfSection {
  readonly name: string
  readonly type: number
  /** `code` and `note` are in memory when the file is executed, `none` is not. */
  readonly loaded: "code" | "note" | "none"
  /** Bytes, in the file. */
  readonly offset: number
  readonly size: number
  readonly align: number
}

export interface ElfHead {
  readonly machine: Machine
  /** The one loaded range of the file: read and execute, and where execution begins. */
  readonly load: { readonly offset: number; readonly size: number }
  readonly sections: readonly ElfSection[]
}

type Values<Table extends StructTable> = Partial<Record<Table[number][0], number | Uint8Array>>

/** File header, program headers, section headers and `.shstrtab`, zero-padded to `size` bytes. A `TypeError` when it does not fit. */
export function emitHead(head: ElfHead, size: number): Uint8Array {
  const out = new Uint8Array(size)
  const segmentsAt = structSize(fileHeader)
  const sectionsAt = segmentsAt + 2 * structSize(programHeader)
  const sectionCount = head.sections.length + 2
  const stringsAt = sectionsAt + sectionCount * structSize(sectionHeader)
  const strings = nameTable([...head.sections.map(({ name }) => name), ".shstrtab"])
  if (stringsAt + strings.bytes.length > size) throw new TypeError("the ELF head does not fit")
  const { elf, pageSize } = machineConstants[head.machine]
  put(out, 0, fileHeader, {
    e_ident: Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    e_type: 2,
    e_machine: elf,
    e_version: 1,
    e_entry: baseAddress + head.load.offset,
    e_phoff: segmentsAt,
    e_shoff: sectionsAt,
    e_ehsize: segmentsAt,
    e_phentsize: structSize(programHeader),
    e_phnum: 2,
    e_shentsize: structSize(sectionHeader),
    e_shnum: sectionCount,
    e_shstrndx: sectionCount - 1,
  })
  put(out, segmentsAt, programHeader, {
    p_type: 1, // PT_LOAD
    p_flags: 5, // read and execute
    p_offset: head.load.offset,
    p_vaddr: baseAddress + head.load.offset,
    p_paddr: baseAddress + head.load.offset,
    p_filesz: head.load.size,
    p_memsz: head.load.size,
    p_align: pageSize,
  })
  put(out, segmentsAt + structSize(programHeader), programHeader, {
    p_type: 0x6474_e551, // PT_GNU_STACK: a stack that is not executable
    p_flags: 6,
    p_align: 16,
  })
  const own: ElfSection = {
    name: ".shstrtab",
    type: sectionTypes.strings,
    loaded: "none",
    offset: stringsAt,
    size: strings.bytes.length,
    align: 1,
  }
  for (const [i, section] of [...head.sections, own].entries())
    putSection(out, sectionsAt + (i + 1) * structSize(sectionHeader), section, strings.at[i] ?? 0)
  out.set(strings.bytes, stringsAt)
  return out
}

function putSection(out: Uint8Array, at: number, section: ElfSection, name: number): void {
  const loaded = section.loaded !== "none"
  put(out, at, sectionHeader, {
    sh_name: name,
    sh_type: section.type,
    sh_flags: section.loaded === "code" ? 6 : loaded ? 2 : 0, // ALLOC 2, EXECINSTR 4
    sh_addr: loaded ? baseAddress + section.offset : 0,
    sh_offset: section.offset,
    sh_size: section.size,
    sh_addralign: section.align,
  })
}

function nameTable(names: readonly string[]): {
  readonly bytes: Uint8Array
  readonly at: readonly number[]
} {
  const at: number[] = []
  let text = "\0"
  for (const name of names) {
    at.push(text.length)
    text += `${name}\0`
  }
  return { bytes: utf8(text), at }
}

/** Little-endian; fields that are not given are zero. */
function put<Table extends StructTable>(
  out: Uint8Array,
  base: number,
  table: Table,
  values: Values<Table>,
): void {
  const view = new DataView(out.buffer, out.byteOffset)
  for (const [name, offset, size] of table) {
    const value = values[name as Table[number][0]] ?? 0
    if (typeof value !== "number") out.set(value, base + offset)
    else if (size === 2) view.setUint16(base + offset, value, true)
    else if (size === 4) view.setUint32(base + offset, value, true)
    else if (size === 8) view.setBigUint64(base + offset, BigInt(value), true)
    else if (value !== 0) throw new TypeError(`${name}: no integer has ${size} bytes`)
  }
}
