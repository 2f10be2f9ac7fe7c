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
  return serialiseObject(value as { readonly [key: string]: JsonValue | undefined })
}

function serialiseObject(value: { readonly [key: string]: JsonValue | undefined }): string {
  let out = ""
  for (const key of sorted(Object.keys(value))) {
    const item = value[key]
    if (item !== undefined) out += `${out === "" ? "" : ","}${quote(key)}:${serialise(item)}`
  }
  return `{${out}}`
}

/** By UTF-16 code units: few keys in a third of the time that `sort` takes. */
function sorted(keys: string[]): string[] {
  if (keys.length > fewKeys) return keys.toSorted()
  for (const [i, key] of keys.entries()) {
    let at = i
    for (let before = keys[at - 1]; before !== undefined && before > key; before = keys[at - 1]) {
      keys[at] = before
      at -= 1
    }
    keys[at] = key
  }
  return keys
}

const fewKeys = 24
/** Stands in JSON as it is. */
const plain = /^[ !#-[\]-~]*$/

function quote(text: string): string {
  if (plain.test(text)) return `"${text}"`
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
