import { canonicalJson, type JsonValue } from "../bytes/index.ts"

export interface FieldChange {
  /** `env.set.LANG`, `argv[1]`. */
  readonly field: string
  /** Undefined where the field is not there. */
  readonly from: JsonValue | undefined
  readonly to: JsonValue | undefined
}

/** Every leaf that differs, in the order of the first document's keys, then of the second's. */
export function diffJson(
  from: JsonValue | undefined,
  to: JsonValue | undefined,
  field = "",
): FieldChange[] {
  if (isRecord(from) && isRecord(to)) {
    const keys = [...new Set([...Object.keys(from), ...Object.keys(to)])].toSorted()
    return keys.flatMap((key) =>
      diffJson(from[key], to[key], field === "" ? key : `${field}.${key}`),
    )
  }
  if (Array.isArray(from) && Array.isArray(to)) {
    const count = Math.max(from.length, to.length)
    return Array.from({ length: count }, (_, i) =>
      diffJson(from[i] as JsonValue | undefined, to[i] as JsonValue | undefined, `${field}[${i}]`),
    ).flat()
  }
  return same(from, to) ? [] : [{ field, from, to }]
}

function isRecord(
  value: JsonValue | undefined,
): value is { readonly [key: string]: JsonValue | undefined } {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}

function same(a: JsonValue | undefined, b: JsonValue | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  return Buffer.compare(canonicalJson(a), canonicalJson(b)) === 0
}
