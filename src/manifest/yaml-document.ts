import { type Document, isMap, isNode, isScalar, LineCounter, parseDocument } from "yaml"
import type { z } from "zod"
import { CofferError } from "../errors.ts"

const maxSize = 1 << 20

type Path = readonly (string | number)[]

interface Finding {
  readonly path: Path
  readonly text: string
}

/** One document of YAML 1.2 (or JSON) that fits the schema; `what` it is, for the error's reason. A `config` error has a line for each thing that is wrong, ten at most. */
export function parseYaml<Schema extends z.ZodType>(
  text: string,
  file: string,
  schema: Schema,
  what = "manifest",
): z.output<Schema> {
  if (Buffer.byteLength(text) > maxSize)
    throw new CofferError("config", `${file}: wanted at most ${maxSize} bytes, found more`)
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, version: "1.2", prettyErrors: false })
  const place = (offset: number): string => {
    const { line, col } = lines.linePos(offset)
    return `${file}:${line}:${col}`
  }
  const [broken] = [...document.errors, ...document.warnings]
  if (broken !== undefined)
    throw new CofferError(
      "config",
      `${place(broken.pos[0])}: wanted YAML, found: ${unquoted(broken.message)}`,
    )
  const value = plainValue(document, file)
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const found = parsed.error.issues.flatMap((issue) => findings(issue, value))
  throw new CofferError(
    "config",
    found
      .slice(0, 10)
      .map(({ path, text: said }) => `${place(offsetOf(document, path))}: ${said}`)
      .join("\n"),
    { reason: `${what}-document`, facts: { field: pathText(found[0]?.path ?? []) } },
  )
}

/** Without what it quotes of the file: that may be a key, given by mistake, or no text at all. */
function unquoted(message: string): string {
  const [words = ""] = message.split(/["\n]/)
  return words.replace(/[:\s]+$/, "")
}

function plainValue(document: Document, file: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 0 }) as unknown // a small document must not become a large one
  } catch (cause) {
    throw new CofferError("config", `${file}: wanted YAML without aliases, found one`, { cause })
  }
}

function findings(issue: z.core.$ZodIssue, root: unknown): Finding[] {
  const path = issue.path.map((part) => (typeof part === "symbol" ? "" : part))
  if (issue.code === "unrecognized_keys")
    return issue.keys.map((key) => ({
      path: [...path, key],
      text: `${pathText([...path, key])}: wanted a known field, found ${JSON.stringify(key)}`,
    }))
  const found = describe(valueAt(root, path))
  return [
    { path, text: `${pathText(path) || "the document"}: wanted ${wanted(issue)}, found ${found}` },
  ]
}

function wanted(issue: z.core.$ZodIssue): string {
  if (!issue.message.startsWith("Invalid")) return issue.message
  if (issue.code === "invalid_value") return issue.values.map(String).join(" or ")
  if (issue.code === "invalid_type") return typeNames[issue.expected] ?? issue.expected
  if (issue.code === "invalid_union" && "options" in issue && Array.isArray(issue.options))
    return issue.options.map(String).join(" or ")
  if (issue.code === "invalid_key") return issue.issues[0]?.message ?? "another key"
  return "another value"
}

function describe(value: unknown): string {
  return value === undefined ? "nothing" : JSON.stringify(value).slice(0, 80)
}

const typeNames: Readonly<Record<string, string>> = {
  object: "a mapping",
  record: "a mapping",
  array: "a list",
  string: "text",
  int: "a whole number",
  boolean: "true or false",
}

function valueAt(root: unknown, path: Path): unknown {
  let value = root
  for (const part of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return undefined
    value = (value as Readonly<Record<string | number, unknown>>)[part]
  }
  return value
}

function pathText(path: Path): string {
  return path
    .map((part, i) => (typeof part === "number" ? `[${part}]` : i === 0 ? part : `.${part}`))
    .join("")
}

/** Where the value is; for one that is missing, the nearest thing around it. */
function offsetOf(document: Document, path: Path): number {
  for (let depth = path.length; depth > 0; depth -= 1) {
    const parent = document.getIn(path.slice(0, depth - 1), true)
    const pair = isMap(parent)
      ? parent.items.find(({ key }) => isScalar(key) && key.value === path[depth - 1])
      : undefined
    const node = pair?.key ?? document.getIn(path.slice(0, depth), true)
    const start = isNode(node) ? node.range?.[0] : undefined
    if (start !== undefined) return start
  }
  return 0
}
