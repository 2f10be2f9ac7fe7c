import type { z } from "zod"
import { nearest } from "./nearest.ts"

/** One thing that is wrong in a document: where, and in which words. */
export interface Finding {
  readonly path: readonly (string | number)[]
  /** True when the key is what is wrong, not its value. */
  readonly atKey: boolean
  readonly wanted: string
  readonly found: string
  readonly hint?: string
}

type Issue = z.core.$ZodIssue

/** Each issue of zod in our words. `root` is the value that was parsed; `keysOf` gives the keys allowed at a path. */
export function findings(issues: readonly Issue[], root: unknown): Finding[] {
  return issues.flatMap((issue) => explain(issue, root, []))
}

function explain(issue: Issue, root: unknown, base: readonly (string | number)[]): Finding[] {
  const path = [...base, ...issue.path.map((part) => (typeof part === "symbol" ? "" : part))]
  const value = valueAt(root, path)
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.map((key) => unknownKey(path, key, value))
    case "invalid_key":
      return [
        { path, atKey: true, wanted: messageOf(issue.issues[0]), found: describe(path.at(-1)) },
      ]
    case "invalid_union":
      return explainUnion(issue, root, path, value)
    case "invalid_type":
      return [{ path, atKey: false, wanted: wantedType(issue), found: describe(value) }]
    case "invalid_value":
      return [invalidValue(path, issue.values.map(String), issue.message, value)]
    case "custom":
    case "invalid_element":
    case "invalid_format":
    case "not_multiple_of":
    case "too_big":
    case "too_small":
      return [{ path, atKey: false, wanted: messageOf(issue), found: describe(value) }]
  }
}

function wantedType(issue: Issue & { readonly code: "invalid_type" }): string {
  if (!issue.message.startsWith("Invalid")) return issue.message
  return (
    {
      object: "a mapping",
      record: "a mapping",
      array: "a list",
      string: "text",
      int: "a whole number",
    }[issue.expected as string] ?? issue.expected
  )
}

function messageOf(issue: Issue | undefined): string {
  return issue === undefined ? "another value" : issue.message
}

function invalidValue(
  path: readonly (string | number)[],
  values: readonly string[],
  message: string,
  value: unknown,
): Finding {
  const wanted = message.startsWith("Invalid") ? values.join(" or ") : message
  const finding = { path, atKey: false, wanted, found: describe(value) }
  const near = typeof value === "string" ? nearest(value, values) : undefined
  return near === undefined ? finding : { ...finding, hint: `did you mean ${near}?` }
}

/** A union's alternatives: the one that fits the value's shape says what is wrong in it. */
function explainUnion(
  issue: Issue & { readonly code: "invalid_union" },
  root: unknown,
  path: readonly (string | number)[],
  value: unknown,
): Finding[] {
  const discriminator = "discriminator" in issue ? String(issue.discriminator) : undefined
  if (discriminator !== undefined) {
    const options =
      "options" in issue && Array.isArray(issue.options) ? issue.options.map(String) : []
    const at = path.at(-1) === discriminator ? path : [...path, discriminator]
    return [invalidValue(at, options, "Invalid", valueAt(root, at))]
  }
  const inner = issue.errors.find((errors) =>
    errors.every((error) => error.path.length > 0 || error.code === "unrecognized_keys"),
  )
  if (inner !== undefined && typeof value === "object")
    return inner.flatMap((error) => explain(error, root, path))
  const wanted = issue.message.startsWith("Invalid")
    ? messageOf(issue.errors[0]?.[0])
    : issue.message
  return [{ path, atKey: false, wanted, found: describe(value) }]
}

function unknownKey(path: readonly (string | number)[], key: string, parent: unknown): Finding {
  const known = knownKeys(path)
  const near = nearest(key, known)
  const present = typeof parent === "object" && parent !== null ? Object.keys(parent) : []
  const free = known.filter((name) => !present.includes(name))
  return {
    path: [...path, key],
    atKey: true,
    wanted: near ?? someOf(free.length === 0 ? known : free),
    found: `the unknown key ${JSON.stringify(key)}`,
    ...(near === undefined ? {} : { hint: `did you mean ${near}?` }),
  }
}

function someOf(names: readonly string[]): string {
  return names.length === 0 ? "a key that spec/policy.md has there" : `one of ${names.join(", ")}`
}

const topKeys = [
  "version",
  "name",
  "predecessor",
  "services",
  "platforms",
  "volumes",
  "secrets",
  "access",
]
const keysBelow: Readonly<Record<string, readonly string[]>> = {
  services: [
    "measurements",
    "signer",
    "platforms",
    "minRuntime",
    "insecureDebug",
    "argv",
    "env",
    "files",
    "volumes",
    "regions",
  ],
  "services.signer": ["mrsigner", "product", "minSvn"],
  "services.files": ["content", "mode", "uid", "gid"],
  "services.regions": ["key", "tag"],
  volumes: ["protection", "freshness", "instances"],
  "volumes.freshness": ["count", "age"],
  secrets: [
    "kind",
    "size",
    "maxSize",
    "commonName",
    "validFor",
    "renewBefore",
    "ca",
    "dns",
    "usage",
    "policy",
    "secret",
    "hash",
    "export",
  ],
  access: ["keys", "read", "update", "restore"],
  "access.read": ["of", "need"],
  "access.update": ["of", "need"],
  "access.restore": ["of", "need"],
  platforms: [
    "type",
    "keys",
    "maxAge",
    "mrtd",
    "rtmr0",
    "rtmr1",
    "rtmr2",
    "mrConfigId",
    "mrOwner",
    "mrOwnerConfig",
    "insecureDebug",
    "tolerate",
    "advisories",
    "minTcbEvaluation",
    "products",
    "measurement",
    "minTcb",
    "minGuestSvn",
    "maxVmpl",
    "hostData",
    "idKeyDigest",
    "chipId",
    "allowSmt",
    "insecureMigration",
    "attestationKeys",
    "pcrs",
    "mrsigner",
    "product",
    "minSvn",
  ],
  "platforms.minTcb": ["fmc", "bootloader", "tee", "snp", "microcode"],
}

/** The keys that the language has at a path; names that the user chose are left out of it. */
function knownKeys(path: readonly (string | number)[]): readonly string[] {
  const [top, ...rest] = path.map(String)
  if (top === undefined) return topKeys
  if (top === "access") return keysBelow[[top, ...rest].join(".")] ?? []
  const [, second] = rest
  return keysBelow[second === undefined ? top : `${top}.${second}`] ?? []
}

export function valueAt(root: unknown, path: readonly (string | number)[]): unknown {
  let value = root
  for (const part of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return undefined
    value = (value as Readonly<Record<string | number, unknown>>)[part]
  }
  return value
}

/** Short, and never ambiguous. What stands in a policy is no secret: values of secrets are given apart from it. */
export function describe(value: unknown): string {
  if (value === undefined) return "nothing"
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list"
  if (value === null) return "an empty value"
  if (typeof value === "object") return "a mapping"
  const text = JSON.stringify(value)
  return text.length <= 80 ? text : `${text.slice(0, 77)}…`
}

/** `services.web.measurements[0]`; a name with other characters is quoted. */
export function pathText(path: readonly (string | number)[]): string {
  return path
    .map((part, i) => {
      if (typeof part === "number") return `[${part}]`
      if (!/^[A-Za-z0-9_-]+$/.test(part)) return `[${JSON.stringify(part)}]`
      return i === 0 ? part : `.${part}`
    })
    .join("")
}
