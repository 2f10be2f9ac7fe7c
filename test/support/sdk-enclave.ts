import { MrEnclave, signSigstruct } from "../../src/sgx/index.ts"
import { testKey } from "./sealed.ts"

/** What the loader of Intel's SDK does with an enclave, said by the test: each page that it adds, in its order. */
interface ExpectedPage {
  readonly offset: number
  readonly flags: number
  readonly measured: boolean
  readonly page: Buffer
}

const enclaveSize = 0x10_0000
const sdkGeometry = { ssaFrameSize: 2, size: enclaveSize }

const code = Buffer.alloc(0x1100, 0x11)
const tcs = Buffer.alloc(72)
tcs.writeBigUInt64LE(0x2000n, 16)
tcs.writeBigUInt64LE(0x3000n, 48)
tcs.writeBigUInt64LE(0x4000n, 56)

function page(...parts: readonly (readonly [number, Uint8Array])[]): Buffer {
  const out = Buffer.alloc(4096)
  for (const [at, bytes] of parts) out.set(bytes, at)
  return out
}

function tcsPage(address: bigint): Buffer {
  const out = page([0, tcs])
  for (const at of [16, 48, 56]) out.writeBigUInt64LE(out.readBigUInt64LE(at) + address, at)
  return out
}

const patch = Buffer.from("patched!")

/** Segment: 0x1100 bytes of code at 0x1080 with one patch; layout: a guard, a filled stack, a TCS, and both again twice. */
const expectedPages: readonly ExpectedPage[] = [
  {
    offset: 0x1000,
    flags: 0x205,
    measured: true,
    page: page([0x80, code.subarray(0, 0xf80)], [0x90, patch]),
  },
  { offset: 0x2000, flags: 0x205, measured: true, page: page([0, code.subarray(0xf80)]) },
  { offset: 0x3000, flags: 0x205, measured: true, page: page() },
  { offset: 0x8000, flags: 0x203, measured: true, page: Buffer.alloc(4096, 0xcc) },
  { offset: 0x9000, flags: 0x100, measured: true, page: tcsPage(0x9000n) },
  ...[1, 2].flatMap((time) => [
    {
      offset: 0x8000 + time * 0x10000,
      flags: 0x203,
      measured: true,
      page: Buffer.alloc(4096, 0xcc),
    },
    {
      offset: 0x9000 + time * 0x10000,
      flags: 0x100,
      measured: true,
      page: tcsPage(0x9000n + BigInt(time) * 0x10000n),
    },
  ]),
  { offset: 0x40000, flags: 0x203, measured: false, page: page() },
]

/** Of the metadata: the SDK before 1.9, whose loader adds a page behind the last segment, and a later one. */
export type SdkVersion = "1.3" | "2.1"
const versions = { "1.3": 0x1_0000_0003n, "2.1": 0x2_0000_0001n } as const

const extraPage: ExpectedPage = { offset: 0x4000, flags: 0x205, measured: true, page: page() }
const segmentPageCount = 3

/** MrEnclave of exactly these pages. */
export function sdkMrEnclave(version: SdkVersion = "2.1"): Uint8Array {
  const builder = new MrEnclave(sdkGeometry)
  const extra = version === "1.3" ? [extraPage] : []
  const pages = expectedPages.toSpliced(segmentPageCount, 0, ...extra)
  for (const { offset, flags, measured, page: bytes } of pages)
    if (measured) builder.addMeasured(offset, flags, bytes)
    else builder.add(offset, flags)
  return builder.digest()
}

function layoutEntry(values: {
  id: number
  attributes: number
  pageCount: number
  address: number
  contentSize?: number
  contentOffset?: number
  flags?: number
}): Buffer {
  const out = Buffer.alloc(32)
  out.writeUInt16LE(values.id, 0)
  out.writeUInt16LE(values.attributes, 2)
  out.writeUInt32LE(values.pageCount, 4)
  out.writeBigUInt64LE(BigInt(values.address), 8)
  out.writeUInt32LE(values.contentSize ?? 0, 16)
  out.writeUInt32LE(values.contentOffset ?? 0, 20)
  out.writeBigUInt64LE(BigInt(values.flags ?? 0), 24)
  return out
}

function metadata(mrEnclave: Uint8Array, version: SdkVersion): Buffer {
  const head = Buffer.alloc(1904)
  head.writeBigUInt64LE(0x86a80294635d0e4cn, 0)
  head.writeBigUInt64LE(versions[version], 8)
  head.writeUInt32LE(sdkGeometry.ssaFrameSize, 24)
  head.writeBigUInt64LE(BigInt(enclaveSize), 40)
  head.set(sigstruct(mrEnclave), 64)
  const tcsAt = 1904
  const patchAt = tcsAt + tcs.length
  const patchesAt = patchAt + patch.length
  const patchEntry = Buffer.alloc(32)
  patchEntry.writeBigUInt64LE(0x1000n + 0x10n, 0)
  patchEntry.writeUInt32LE(patchAt, 8)
  patchEntry.writeUInt32LE(patch.length, 12)
  const layout = Buffer.concat([
    layoutEntry({ id: 2, attributes: 0, pageCount: 1, address: 0x7000 }),
    layoutEntry({
      id: 3,
      attributes: 3,
      pageCount: 1,
      address: 0x8000,
      contentSize: 0xcccccccc,
      flags: 0x203,
    }),
    layoutEntry({
      id: 4,
      attributes: 3,
      pageCount: 1,
      address: 0x9000,
      contentSize: tcs.length,
      contentOffset: tcsAt,
      flags: 0x100,
    }),
    layoutEntry({ id: 0x1005, attributes: 2, pageCount: 2, address: 0x10000 }),
    layoutEntry({ id: 6, attributes: 1, pageCount: 1, address: 0x40000, flags: 0x203 }),
  ])
  head.writeUInt32LE(patchesAt, 1872)
  head.writeUInt32LE(patchEntry.length, 1876)
  head.writeUInt32LE(patchesAt + patchEntry.length, 1880)
  head.writeUInt32LE(layout.length, 1884)
  return Buffer.concat([head, tcs, patch, patchEntry, layout])
}

function sigstruct(mrEnclave: Uint8Array): Uint8Array {
  return signSigstruct(
    {
      mrEnclave,
      date: "20260102",
      isvProdId: 5,
      isvSvn: 6,
      vendor: 0,
      swDefined: 0,
      miscSelect: 0,
      miscMask: 0,
      cetAttributes: 0,
      cetAttributesMask: 0,
      attributes: Buffer.alloc(16, 4),
      attributeMask: Buffer.alloc(16, 0xff),
      isvFamilyId: Buffer.alloc(16),
      isvExtProdId: Buffer.alloc(16),
    },
    testKey,
  )
}

/** A signed enclave as Intel's SDK writes them: small, made here, with nothing of Intel's in it. */
export function sdkEnclave(mrEnclave: Uint8Array, version: SdkVersion = "2.1"): Buffer {
  const names = Buffer.from("\0.note.sgxmeta\0.shstrtab\0")
  const meta = metadata(mrEnclave, version)
  const note = Buffer.concat([Buffer.alloc(12), Buffer.from("sgx_metadata\0"), meta])
  note.writeUInt32LE(13, 0)
  note.writeUInt32LE(meta.length, 4)
  note.writeUInt32LE(1, 8)
  const noteAt = 0x1000 + code.length
  const namesAt = noteAt + note.length
  const sectionsAt = namesAt + names.length
  const head = Buffer.alloc(0x1000)
  Buffer.from("7f454c46020101", "hex").copy(head)
  head.writeUInt16LE(3, 16)
  head.writeUInt16LE(62, 18)
  head.writeBigUInt64LE(64n, 32)
  head.writeBigUInt64LE(BigInt(sectionsAt), 40)
  head.writeUInt16LE(1, 56)
  head.writeUInt16LE(3, 60)
  head.writeUInt16LE(2, 62)
  head.writeUInt32LE(1, 64) // PT_LOAD, read and execute
  head.writeUInt32LE(5, 68)
  for (const [at, value] of [
    [72, 0x1000],
    [80, 0x1080],
    [96, code.length],
    [104, 0x2f00],
  ] as const)
    head.writeBigUInt64LE(BigInt(value), at)
  return Buffer.concat([
    head,
    code,
    note,
    names,
    Buffer.alloc(64),
    section(1, 7, noteAt, note.length),
    section(15, 3, namesAt, names.length),
  ])
}

function section(name: number, type: number, offset: number, size: number): Buffer {
  const out = Buffer.alloc(64)
  out.writeUInt32LE(name, 0)
  out.writeUInt32LE(type, 4)
  out.writeBigUInt64LE(BigInt(offset), 24)
  out.writeBigUInt64LE(BigInt(size), 32)
  return out
}
