import { Cursor, type StructTable, structSize, toHex } from "../bytes/index.ts"
import type { SignedHead } from "./head.ts"

/** A signed head as volumes keep it, spec/audit-log.md: in bytes, since every commit has one. Big-endian. */
export const seenTable = [
  ["version", 0, 4],
  ["cas", 4, 32],
  ["sequence", 36, 8],
  ["hash", 44, 32],
  ["time", 76, 8],
  ["signature", 84, 64],
] as const satisfies StructTable

const size = structSize(seenTable)

export function encodeSeen(head: SignedHead): Uint8Array {
  const bytes = Buffer.alloc(size)
  bytes.writeUInt32BE(1, 0)
  bytes.write(head.cas, 4, "hex")
  bytes.writeBigUInt64BE(BigInt(head.sequence), 36)
  bytes.write(head.hash, 44, "hex")
  bytes.writeBigUInt64BE(BigInt(head.time), 76)
  bytes.write(head.signature, 84, "hex")
  return new Uint8Array(bytes)
}

/** Its signature is still to be verified. Throws `integrity` for what no writer makes. */
export function decodeSeen(bytes: Uint8Array): SignedHead {
  const cursor = new Cursor(bytes, "signed head")
  const version = cursor.u32Be("version")
  if (version !== 1) throw cursor.fault("version", "1", String(version))
  const hex = (field: string, length: number) => toHex(cursor.bytes(length, field))
  const number = (field: string) => {
    const value = Number(BigInt(`0x${hex(field, 8)}`))
    if (!Number.isSafeInteger(value)) throw cursor.fault(field, "a safe integer", String(value))
    return value
  }
  const head = {
    cas: hex("cas", 32),
    sequence: number("sequence"),
    hash: hex("hash", 32),
    time: number("time"),
    signature: hex("signature", 64),
  }
  cursor.end()
  return head
}
