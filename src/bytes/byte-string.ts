/**
 * File names and xattr names are bytes, not text: any byte but NUL and '/'. A `ByteString` holds one byte in each
 * character (0 to 255), so it can be a Map key, and JavaScript's string order is the order of the bytes.
 */
export type ByteString = string & { readonly __bytes: unique symbol }

export function byteString(bytes: Uint8Array): ByteString {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1") as ByteString
}

export function bytesOf(name: ByteString): Uint8Array {
  return Buffer.from(name, "latin1")
}

/** The byte string of a text's UTF-8. */
export function utf8OfByteString(text: string): ByteString {
  return Buffer.from(text, "utf8").toString("latin1") as ByteString
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** For messages and listings: UTF-8 where it is valid and printable, `\xNN` for every other byte. Never ambiguous: a backslash is `\\`. */
export function displayName(name: ByteString): string {
  const bytes = bytesOf(name)
  try {
    return escapeControls(decoder.decode(bytes))
  } catch {
    return [...bytes].map((byte) => escapeByte(byte)).join("")
  }
}

/** The bytes that `displayName` shows so; undefined when a backslash stands for nothing. */
export function parseDisplayName(text: string): ByteString | undefined {
  const bytes = utf8OfByteString(text)
  if (!/^(?:[^\\]|\\\\|\\x[0-9a-f]{2})*$/.test(bytes)) return undefined
  return bytes.replace(/\\(?:\\|x([0-9a-f]{2}))/g, (_, hex?: string) =>
    hex === undefined ? "\\" : String.fromCharCode(Number.parseInt(hex, 16)),
  ) as ByteString
}

function escapeByte(byte: number): string {
  if (byte === 0x5c) return "\\\\"
  return byte >= 0x20 && byte < 0x7f
    ? String.fromCharCode(byte)
    : `\\x${byte.toString(16).padStart(2, "0")}`
}

// A name comes from the adversary: terminal control characters in it must not reach a terminal.
function escapeControls(text: string): string {
  return text.replace(/[\\\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (char) =>
    char === "\\"
      ? "\\\\"
      : [...Buffer.from(char, "utf8")].map((byte) => escapeByte(byte)).join(""),
  )
}
