import { type Document, isMap, isScalar, LineCounter, type Node, parseDocument } from "yaml"
import { CofferError } from "../errors.ts"
import { crossFindings } from "./cross-checks.ts"
import { type Finding, findings, pathText } from "./explain.ts"
import { canonicalPolicy } from "./hash.ts"
import { type Policy, policySchema } from "./schema.ts"

const maxSize = 1_048_576

/**
 * Reads a policy. `file` is only for messages. Throws a `config` CofferError whose message has one line for each thing
 * that is wrong, `FILE:LINE:COLUMN: FIELD: wanted …, found …`, the first ten of them.
 */
export function parsePolicy(text: string, file: string): Policy {
  if (Buffer.byteLength(text) > maxSize)
    throw new CofferError("config", `${file}: wanted at most ${maxSize} bytes, found more`)
  const lines = new LineCounter()
  const document = parseDocument(text, {
    lineCounter: lines,
    uniqueKeys: true,
    version: "1.2",
    schema: "core",
    merge: false,
    prettyErrors: false,
    strict: true,
  })
  const [broken] = [...document.errors, ...document.warnings]
  if (broken !== undefined) {
    const { line, col } = lines.linePos(broken.pos[0])
    const at = `${file}:${line}:${col}`
    throw new CofferError("config", `${at}: wanted YAML, found: ${unquoted(broken.message)}`)
  }
  return policyOf(plainValue(document, file), (found) => report(found, document, lines, file))
}

/** The same for a document that is JSON already, for example one that a client sent. */
export function policyFromValue(value: unknown, what: string): Policy {
  const policy = policyOf(value, (found) => `${what}: ${sentence(found)}`)
  if (canonicalPolicy(policy).length <= maxSize) return policy
  throw new CofferError("config", `${what}: wanted at most ${maxSize} bytes, found more`)
}

function policyOf(value: unknown, line: (finding: Finding) => string): Policy {
  const parsed = policySchema.safeParse(value)
  const found = parsed.success ? crossFindings(parsed.data) : findings(parsed.error.issues, value)
  const [first] = found
  if (first !== undefined || !parsed.success) {
    const detail = first?.hint === undefined ? {} : { hint: first.hint }
    throw new CofferError("config", found.slice(0, 10).map(line).join("\n"), {
      ...detail,
      reason: "policy-document",
      facts: first === undefined ? {} : { field: pathText(first.path) },
    })
  }
  return withQuorums(parsed.data)
}

/** The quorums that a document may leave out, so that the normal form has them. */
function withQuorums(policy: Policy): Policy {
  const { access } = policy
  const all = { of: Object.keys(access.keys).toSorted(), need: 1 }
  return {
    ...policy,
    access: { ...access, read: access.read ?? all, restore: access.restore ?? access.update },
  }
}

/** Without what it quotes of the file: that may be a key, given by mistake, or no text at all. */
function unquoted(message: string): string {
  const [words = ""] = message.split(/["\n]/)
  return words.replace(/[:\s]+$/, "")
}

function plainValue(document: Document, file: string): unknown {
  try {
    // An alias could blow a small document up: none is resolved.
    return document.toJS({ maxAliasCount: 0 })
  } catch (cause) {
    throw new CofferError("config", `${file}: wanted YAML with no aliases, found one`, { cause })
  }
}

function report(finding: Finding, document: Document, lines: LineCounter, file: string): string {
  const { line, col } = lines.linePos(offsetOf(document, finding))
  return `${file}:${line}:${col}: ${sentence(finding)}`
}

function sentence(finding: Finding): string {
  const field = pathText(finding.path)
  return `${field === "" ? "the document" : field}: wanted ${finding.wanted}, found ${finding.found}`
}

/** Where the finding is; for a field that is missing, the nearest thing around it. */
function offsetOf(document: Document, finding: Finding): number {
  for (let depth = finding.path.length; depth >= 0; depth -= 1) {
    const path = finding.path.slice(0, depth)
    const key = finding.atKey || depth < finding.path.length ? keyNode(document, path) : undefined
    const node = key ?? (document.getIn(path, true) as Node | undefined)
    const start = node?.range?.[0]
    if (start !== undefined) return start
  }
  return 0
}

function keyNode(document: Document, path: readonly (string | number)[]): Node | undefined {
  const parent = document.getIn(path.slice(0, -1), true)
  if (!isMap(parent)) return undefined
  const pair = parent.items.find(
    ({ key }) => isScalar(key) && String(key.value) === String(path.at(-1)),
  )
  return isScalar(pair?.key) ? pair.key : undefined
}
