import { alignUp, Cursor, equalBytes, toHex } from "../bytes/index.ts"
import { type LoadSegment, type NamedSection, readElf } from "../elf/index.ts"
import { CofferError } from "../errors.ts"
import {
  MrEnclave,
  pageFlags,
  pageSize,
  type RecordSink,
  type SigstructClaims,
  sigstructSize,
  verifySigstruct,
} from "../sgx/index.ts"

export interface SdkEnclave {
  readonly mrEnclave: Uint8Array
  /** The genuine signature in the file, over this MrEnclave. */
  readonly signature: SigstructClaims
}

const format = "SGX SDK enclave"
const metadataMagic = 0x86a8_0294_635d_0e4cn
/** Major 1, minor 3: the SDK before 1.9. Its loader adds a page that later ones do not. */
const oldVersion = 0x1_0000_0003n
/** 16 GiB of pages: a bound for the time that a lying file can take. */
const maxPageCount = 1 << 22

/**
 * Measures an enclave that Intel's SDK signed (`*.signed.so`), as the SDK's loader would load it, and compares with the
 * SIGSTRUCT in it. `bytes` is the whole file and is not changed.
 */
export function measureSdkEnclave(bytes: Uint8Array, sink?: RecordSink): SdkEnclave {
  const elf = readElf(bytes)
  const metadata = metadataOf(bytes, elf.sections)
  const image = patched(bytes, metadata)
  refuseTextRelocations(image, elf.sections)
  const loader = new Loader(metadata, sink)
  loader.segments(image, elf.segments)
  loader.layout()
  const mrEnclave = loader.digest()
  const signature = verifySigstruct(metadata.bytes.subarray(64, 64 + sigstructSize))
  if (!equalBytes(signature.mrEnclave, mrEnclave))
    throw new CofferError(
      "integrity",
      `${format}: signature: wanted MrEnclave ${toHex(mrEnclave)}, found one for ${toHex(signature.mrEnclave)}`,
      { reason: "sigstruct-other-enclave" },
    )
  return { mrEnclave, signature }
}

interface Metadata {
  readonly bytes: Uint8Array
  readonly version: bigint
  readonly ssaFrameSize: number
  readonly enclaveSize: number
  readonly patches: Uint8Array
  readonly layout: Uint8Array
}

/** True for an ELF file with the SDK's metadata. */
export function looksLikeSdkEnclave(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes("sgx_metadata\0")
}

function metadataOf(bytes: Uint8Array, sections: readonly NamedSection[]): Metadata {
  const section = sections.find(({ name }) => name === ".note.sgxmeta")
  if (section === undefined) throw fault("section .note.sgxmeta", "one", "none")
  const note = new Cursor(bytes.subarray(section.offset, section.offset + section.size), format)
  const nameSize = note.u32("note name size")
  const size = note.u32("note size")
  note.u32("note type")
  note.bytes(nameSize, "note name") // 13 bytes, and not padded
  const metadata = note.bytes(Math.min(size, note.remaining), "metadata")
  const cursor = new Cursor(metadata, format)
  if (cursor.u64("magic") !== metadataMagic) throw fault("magic", "the SDK's", "another")
  const version = cursor.u64("version")
  cursor.bytes(8, "size, TCS policy")
  const ssaFrameSize = cursor.u32("SSA frame size")
  cursor.bytes(12, "save size, MISCSELECT, TCS pool")
  const enclaveSize = cursor.size("enclave size")
  cursor.bytes(16 + sigstructSize, "attributes, SIGSTRUCT")
  const patches = directory(cursor, metadata)
  return {
    bytes: metadata,
    version,
    ssaFrameSize,
    enclaveSize,
    patches,
    layout: directory(cursor, metadata),
  }
}

function directory(cursor: Cursor, metadata: Uint8Array): Uint8Array {
  const offset = cursor.u32("directory offset")
  const size = cursor.u32("directory size")
  if (offset + size > metadata.length || size % 32 !== 0)
    throw fault("directory", "whole entries in the metadata", `${size} bytes at ${offset}`)
  return metadata.subarray(offset, offset + size)
}

function patched(bytes: Uint8Array, metadata: Metadata): Uint8Array {
  const image = bytes.slice()
  const cursor = new Cursor(metadata.patches, format)
  while (cursor.remaining > 0) {
    const to = cursor.size("patch destination")
    const from = cursor.u32("patch source")
    const size = cursor.u32("patch size")
    cursor.bytes(16, "patch reserved")
    if (from + size > metadata.bytes.length || to + size > image.length)
      throw fault("patch", "ranges in the file", `${size} bytes from ${from} to ${to}`)
    image.set(metadata.bytes.subarray(from, from + size), to)
  }
  return image
}

// With DT_TEXTREL the loader makes pages with relocations writable: no published enclave does that.
function refuseTextRelocations(image: Uint8Array, sections: readonly NamedSection[]): void {
  const dynamic = sections.find(({ type }) => type === 6)
  if (dynamic === undefined) return
  const cursor = new Cursor(image.subarray(dynamic.offset, dynamic.offset + dynamic.size), format)
  while (cursor.remaining >= 16) {
    const tag = cursor.u64("d_tag")
    cursor.u64("d_val")
    if (tag === 22n) throw fault("dynamic section", "no text relocations", "DT_TEXTREL")
  }
}

interface LayoutEntry {
  readonly id: number
  /** Bit 0 EADD, bit 1 EEXTEND. For a group: how many entries before it are repeated. */
  readonly attributes: number
  /** For a group: how many times. */
  readonly pageCount: number
  /** For a group: the step of the addresses. */
  readonly address: number
  readonly contentSize: number
  readonly contentOffset: number
  readonly flags: number
}

const groupBit = 0x1000

class Loader {
  readonly #metadata: Metadata
  readonly #builder: MrEnclave
  readonly #page = new Uint8Array(pageSize)
  #pageCount = 0

  constructor(metadata: Metadata, sink: RecordSink | undefined) {
    this.#metadata = metadata
    const { ssaFrameSize, enclaveSize } = metadata
    if (
      ssaFrameSize === 0 ||
      !Number.isInteger(Math.log2(enclaveSize)) ||
      enclaveSize < 8192 ||
      enclaveSize > 2 ** 52
    )
      throw fault("enclave size", "a power of two", `${enclaveSize}, SSA frame ${ssaFrameSize}`)
    this.#builder = new MrEnclave({ ssaFrameSize, size: enclaveSize }, sink)
  }

  segments(image: Uint8Array, segments: readonly LoadSegment[]): void {
    if (this.#metadata.version !== oldVersion) {
      for (const segment of segments) this.#segment(image, segment)
      return
    }
    let last: LoadSegment | undefined
    for (const segment of segments) {
      if (last !== undefined && extraPage(last) < segment.address - (segment.address % pageSize))
        this.#extra(last)
      if (segment.address > (last?.address ?? 0)) last = segment
      this.#segment(image, segment)
    }
    if (last !== undefined) this.#extra(last)
  }

  /** A page of zeros behind a segment, where its size in whole pages reaches farther than its last byte. */
  #extra(segment: LoadSegment): void {
    const { address, memorySize, flags } = segment
    const at = extraPage(segment)
    if (at >= alignUp(alignUp(memorySize, pageSize) + address, pageSize)) return
    this.#page.fill(0)
    this.#add(at, pageFlags.reg + permissions(flags), true)
  }

  /** Page by page, with zeros before and behind what the file has. */
  #segment(image: Uint8Array, segment: LoadSegment): void {
    const { address, fileSize, offset } = segment
    const flags = pageFlags.reg + permissions(segment.flags)
    const end = address + segment.memorySize
    for (let at = address - (address % pageSize); at < end; at += pageSize) {
      this.#page.fill(0)
      const from = Math.max(at, address)
      const to = Math.min(at + pageSize, address + fileSize)
      if (from < to)
        this.#page.set(image.subarray(offset + from - address, offset + to - address), from - at)
      this.#add(at, flags, true)
    }
  }

  layout(): void {
    const entries = layoutEntries(this.#metadata.layout)
    for (const [i, entry] of entries.entries()) {
      if (entry.id < groupBit) {
        this.#pages(entry, 0)
        continue
      }
      if (entry.attributes > i) throw fault("layout group", "entries before it", String(i))
      this.#group(entry, entries.slice(i - entry.attributes, i))
    }
  }

  #group(group: LayoutEntry, before: readonly LayoutEntry[]): void {
    const members = before.filter(({ id, attributes }) => id < groupBit && attributes % 2 === 1)
    if (members.every(({ pageCount }) => pageCount === 0)) return
    for (let time = 1; time <= group.pageCount; time += 1)
      for (const member of members) this.#pages(member, time * group.address)
  }

  digest(): Uint8Array {
    return this.#builder.digest()
  }

  #pages(entry: LayoutEntry, step: number): void {
    if (entry.attributes % 2 === 0) return
    const measured = entry.attributes % 4 >= 2
    const begin = entry.address + step
    for (let i = 0; i < entry.pageCount; i += 1) {
      this.#fill(entry, i)
      if (entry.flags === pageFlags.tcs) this.#moveTcs(begin)
      this.#add(begin + i * pageSize, entry.flags, measured)
    }
  }

  #fill(entry: LayoutEntry, index: number): void {
    const { contentOffset, contentSize } = entry
    this.#page.fill(0)
    const view = new DataView(this.#page.buffer)
    if (contentOffset !== 0) {
      const from = contentOffset + index * pageSize
      const end = Math.min(from + pageSize, contentOffset + contentSize)
      if (end > this.#metadata.bytes.length)
        throw fault("layout content", "in the metadata", "beyond")
      if (from < end) this.#page.set(this.#metadata.bytes.subarray(from, end))
    } else if (contentSize !== 0)
      for (let at = 0; at < pageSize; at += 4) view.setUint32(at, contentSize, true)
  }

  /** OSSA, OFSBASE and OGSBASE are relative to the TCS in the metadata, and to the enclave in the measurement. */
  #moveTcs(address: number): void {
    const view = new DataView(this.#page.buffer)
    for (const at of [16, 48, 56])
      view.setBigUint64(at, view.getBigUint64(at, true) + BigInt(address), true)
  }

  #add(offset: number, flags: number, measured: boolean): void {
    this.#pageCount += 1
    if (this.#pageCount > maxPageCount) throw fault("pages", `at most ${maxPageCount}`, "more")
    if (offset % pageSize !== 0 || offset >= this.#metadata.enclaveSize)
      throw fault("page", "one of the enclave", `offset ${offset}`)
    if (measured) this.#builder.addMeasured(offset, flags, this.#page)
    else this.#builder.add(offset, flags)
  }
}

/** Where the first page behind a segment begins. */
function extraPage({ address, memorySize }: LoadSegment): number {
  return alignUp(address + memorySize, pageSize)
}

function layoutEntries(bytes: Uint8Array): LayoutEntry[] {
  const cursor = new Cursor(bytes, format)
  const entries: LayoutEntry[] = []
  while (cursor.remaining > 0)
    entries.push({
      id: cursor.u16("layout id"),
      attributes: cursor.u16("layout attributes"),
      pageCount: cursor.u32("layout page count"),
      address: cursor.size("layout address"),
      contentSize: cursor.u32("layout content size"),
      contentOffset: cursor.u32("layout content offset"),
      flags: cursor.size("layout flags"),
    })
  return entries
}

function permissions(flags: number): number {
  const has = (bit: number) => Math.floor(flags / bit) % 2 === 1
  return (has(4) ? pageFlags.r : 0) + (has(2) ? pageFlags.w : 0) + (has(1) ? pageFlags.x : 0)
}

function fault(field: string, want: string, have: string): CofferError {
  return new CofferError("integrity", `${format}: ${field}: wanted ${want}, found ${have}`, {
    facts: { format, field },
  })
}
