import { Cursor, toHex } from "../../bytes/index.ts"

/** The certificates that an SNP host hands to its guest (`auxblob`): VCEK or VLEK, ASK, ARK, and what else it likes. */
const guids: Readonly<Record<string, string>> = {
  "63da758de6644564adc5f4b93be8accd": "vcek",
  a8074bc2a25a483eaae639c045a0b8a1: "vlek",
  "4ab7b379bbac4fe4a02f05aef327c782": "ask",
  c0b406a4a803495297433fb6014cd0ae: "ark",
}

const entrySize = 24

/** The DER of each certificate in AMD's table (GHCB specification, 4.1.8.1); undefined when `bytes` is no such table. */
export function certificateTable(bytes: Uint8Array): Uint8Array[] | undefined {
  if (bytes.length < entrySize || guids[toHex(bytes.subarray(0, 16))] === undefined)
    return undefined
  const cursor = new Cursor(bytes, "certificate table")
  const found: Uint8Array[] = []
  for (;;) {
    const guid = toHex(cursor.bytes(16, "guid"))
    const offset = cursor.u32("offset")
    const size = cursor.u32("size")
    if (guid === "0".repeat(32)) return found
    if (offset + size > bytes.length)
      throw cursor.fault("offset", `an end within ${bytes.length} bytes`, String(offset + size))
    if (guids[guid] !== undefined) found.push(bytes.subarray(offset, offset + size))
  }
}
