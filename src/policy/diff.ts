import { describe, pathText } from "./explain.ts"
import type { Policy } from "./schema.ts"

export interface Change {
  readonly field: string
  readonly before: string
  readonly after: string
  /** True when the change lets somebody have more than before, as far as the field alone can tell. */
  readonly widens: boolean
}

type Path = readonly (string | number)[]

/** What differs between two normal forms; lists whose order does not matter are compared as sets. */
export function diffPolicies(before: Policy, after: Policy): Change[] {
  return compare([], before, after)
}

function compare(path: Path, before: unknown, after: unknown): Change[] {
  if (JSON.stringify(before) === JSON.stringify(after)) return []
  if (isSet(path) && Array.isArray(before) && Array.isArray(after))
    return compareSets(path, before, after)
  if (isRecord(before) && isRecord(after)) {
    const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].toSorted()
    return keys.flatMap((key) => compare([...path, key], before[key], after[key]))
  }
  if (path.length === 1 && path[0] === "predecessor") return []
  return [change(path, full(before), full(after), widens(path, before, after))]
}

function compareSets(path: Path, before: readonly unknown[], after: readonly unknown[]): Change[] {
  const [old, now] = [before, after].map(
    (list) => new Set(list.map((item) => JSON.stringify(item))),
  )
  const gone = [...(old ?? [])].filter((item) => now?.has(item) !== true)
  const come = [...(now ?? [])].filter((item) => old?.has(item) !== true)
  return [
    ...gone.map((item) => change(path, item, "nothing", false)),
    ...come.map((item) => change(path, "nothing", item, true)),
  ]
}

const orderedLists = ["argv"]

function isSet(path: Path): boolean {
  return !orderedLists.includes(String(path.at(-1)))
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}

function full(value: unknown): string {
  return isRecord(value) || Array.isArray(value) ? JSON.stringify(value) : describe(value)
}

const minima = [
  "minSvn",
  "minRuntime",
  "minGuestSvn",
  "minTcbEvaluation",
  "need",
  "fmc",
  "bootloader",
  "tee",
  "snp",
  "microcode",
]
const maxima = ["maxVmpl", "maxAge", "count", "age"]

/** A hint for the reader, not a proof: lower minima, higher maxima, new entries, insecure options, write instead of read. */
function widens(path: Path, before: unknown, after: unknown): boolean {
  const key = String(path.at(-1))
  if (after === undefined) return ["signer", "hash"].includes(key)
  if (before === undefined) return !["signer", "hash"].includes(key)
  if (typeof before === "number" && typeof after === "number") {
    if (minima.includes(key)) return after < before
    return maxima.includes(key) && after > before
  }
  if (key === "minRuntime")
    return typeof after === "string" && typeof before === "string" && after < before
  if (typeof after === "boolean") return after
  return key === "freshness" ? before === "strict" : after === "write"
}

function change(path: Path, before: string, after: string, more: boolean): Change {
  return { field: pathText(path), before, after, widens: more }
}
