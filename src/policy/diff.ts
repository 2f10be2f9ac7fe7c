import { compareVersions } from "./decide.ts"
import { pathText } from "./explain.ts"
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
  const lists = unboundWhenEmpty.includes(String(path.at(-1)))
  const [freed, bound] = [lists && now?.size === 0, lists && old?.size === 0]
  return [
    ...gone.map((item) => change(path, shown(item), "nothing", freed)),
    ...come.map((item) => change(path, "nothing", shown(item), !bound)),
  ]
}

/** Lists of reference values: an empty one is "not looked at". */
const unboundWhenEmpty: readonly string[] = [
  "measurements",
  "keys",
  "rtmr0",
  "rtmr1",
  "rtmr2",
  "mrConfigId",
  "mrOwner",
  "mrOwnerConfig",
  "hostData",
  "idKeyDigest",
  "chipId",
]

const orderedLists = ["argv"]

function isSet(path: Path): boolean {
  return !orderedLists.includes(String(path.at(-1)))
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}

/** The whole of it: people sign what they see here. */
function full(value: unknown): string {
  return value === undefined ? "nothing" : shown(JSON.stringify(value))
}

/** A document may come from somebody who wants a terminal to hide a part of it. */
function shown(json: string): string {
  return json.replaceAll(
    /[\p{Cc}\p{Cf}\p{Co}\p{Zl}\p{Zp}]/gu,
    (char) => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`,
  )
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
/** What binds more when it is there. */
const narrowing = ["signer", "hash", "advisories"]
const maxima = ["maxVmpl", "maxAge", "count", "age"]

/** A hint for the reader, not a proof: lower minima, higher maxima, new entries, insecure options, write instead of read. */
function widens(path: Path, before: unknown, after: unknown): boolean {
  const key = String(path.at(-1))
  if (after === undefined) return narrowing.includes(key)
  if (before === undefined) return !narrowing.includes(key)
  if (typeof before === "number" && typeof after === "number") {
    if (minima.includes(key)) return after < before
    return maxima.includes(key) && after > before
  }
  if (key === "minRuntime")
    return (
      typeof after === "string" && typeof before === "string" && compareVersions(after, before) < 0
    )
  if (typeof after === "boolean") return after
  return key === "freshness" ? before === "strict" : after === "write"
}

function change(path: Path, before: string, after: string, more: boolean): Change {
  return { field: pathText(path), before, after, widens: more }
}
