import { CofferError } from "../errors.ts"
import { equalBytes, utf8 } from "./plain.ts"

export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue | undefined }

/**
 * RFC 8785 (JCS): keys in order of their UTF-16 code units, no space, ECMAScript numbers. A key whose value is
 * undefined is left out. Lone surrogates and numbers that are not finite are a `TypeError`: they have no canonical form.
 */
export function canonicalJson(value: JsonValue): Uint8Array {
  return utf8(serialise(value))
}

function serialise(value: JsonValue): string {
  if (value === null || typeof value === "boolean") return String(value)
  if (typeof value === "number") {
    if (!Number.isFinite(value))
      throw new TypeError("canonical JSON has no form for a number that is not finite")
    return JSON.stringify(value)
  }
  if (typeof value === "string") return quote(value)
  if (Array.isArray(value)) return `[${value.map((item: JsonValue) => serialise(item)).join(",")}]`
  const entries = Object.entries(value as { readonly [key: string]: JsonValue | undefined })
    .filter((entry): entry is [string, JsonValue] => entry[1] !== undefined)
    .toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  return `{${entries.map(([key, item]) => `${quote(key)}:${serialise(item)}`).join(",")}}`
}

function quote(text: string): string {
  if (!text.isWellFormed()) throw new TypeError("canonical JSON has no form for a lone surrogate")
  return JSON.stringify(text)
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** Parses and refuses all that is not byte for byte canonical: so a document has one form, and one hash. */
export function parseCanonicalJson(bytes: Uint8Array, format: string): JsonValue {
  let value: JsonValue
  try {
    value = JSON.parse(decoder.decode(bytes)) as JsonValue
  } catch (cause) {
    throw new CofferError("integrity", `${format}: wanted JSON in UTF-8, found something else`, {
      cause,
    })
  }
  if (!equalBytes(canonicalForm(value, format), bytes)) {
    throw new CofferError(
      "integrity",
      `${format}: wanted canonical JSON (RFC 8785), found another form of it`,
    )
  }
  return value
}

function canonicalForm(value: JsonValue, format: string): Uint8Array {
  try {
    return canonicalJson(value)
  } catch (cause) {
    throw new CofferError(
      "integrity",
      `${format}: wanted canonical JSON (RFC 8785), found a value without one`,
      { cause },
    )
  }
}
