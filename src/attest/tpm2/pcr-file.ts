import { Cursor, toHex } from "../../bytes/index.ts"
import { hashNames, hashSizes } from "./structures.ts"

/** Sizes of the C structures that `tpm2_quote -o` dumps: TPML_PCR_SELECTION, then a count and TPML_DIGESTs. */
const selectionCount = 16
const digestsPerList = 8
const digestSlot = 64

/** The PCR values in a dump of tpm2-tools (little-endian), as `sha256:16` to hex. */
export function parsePcrFile(bytes: Uint8Array): Readonly<Record<string, string>> {
  const cursor = new Cursor(bytes, "pcr file")
  const used = cursor.u32("selection count")
  if (used > selectionCount) throw cursor.fault("selection count", "at most 16", String(used))
  const names: (readonly [name: string, size: number])[] = []
  for (let i = 0; i < selectionCount; i += 1) {
    const hash = hashNames[cursor.u16("bank")]
    const width = cursor.u8("bitmap size")
    const bitmap = cursor.bytes(4, "bitmap")
    cursor.bytes(1, "padding")
    if (i >= used) continue
    if (hash === undefined || width > 4) throw cursor.fault("bank", "a known hash", "another")
    for (let pcr = 0; pcr < width * 8; pcr += 1)
      if (((bitmap[pcr >> 3] ?? 0) >> (pcr & 7)) & 1)
        names.push([`${hash}:${pcr}`, hashSizes[hash]])
  }
  const values = readDigests(cursor)
  if (values.length !== names.length)
    throw cursor.fault("digests", `${names.length} values`, String(values.length))
  return Object.fromEntries(
    names.map(([name, size], i) => {
      const value = values[i] ?? new Uint8Array()
      if (value.length !== size) throw cursor.fault(name, `${size} bytes`, String(value.length))
      return [name, toHex(value)]
    }),
  )
}

function readDigests(cursor: Cursor): readonly Uint8Array[] {
  const values: Uint8Array[] = []
  const lists = cursor.u32("list count")
  if (lists > 16) throw cursor.fault("list count", "at most 16", String(lists))
  for (let i = 0; i < lists; i += 1) {
    const count = cursor.u32("digest count")
    if (count > digestsPerList) throw cursor.fault("digest count", "at most 8", String(count))
    for (let slot = 0; slot < digestsPerList; slot += 1) {
      const size = cursor.u16("digest size")
      const slotBytes = cursor.bytes(digestSlot, "digest")
      if (slot < count) values.push(slotBytes.subarray(0, size))
    }
  }
  cursor.end()
  return values
}
