/**
 * Bytes: cursors, struct tables, hex, byte strings, canonical JSON.
 *
 * Promises: pure, no I/O; every read is bounds-checked and fails with a `CofferError` that names the format, the field,
 * what was wanted and what was found.
 */
export {
  type ByteString,
  byteString,
  bytesOf,
  displayName,
  parseDisplayName,
  utf8OfByteString,
} from "./byte-string.ts"
export { canonicalJson, type JsonValue, parseCanonicalJson } from "./canonical-json.ts"
export { Cursor } from "./cursor.ts"
export {
  alignUp,
  compareBytes,
  concatBytes,
  equalBytes,
  fromHex,
  isZero,
  toHex,
  utf8,
} from "./plain.ts"
export { type Field, type StructTable, structSize, tableFaults } from "./struct.ts"
