import { fromHex } from "../../bytes/index.ts"
import { CofferError } from "../../errors.ts"

/** Intel's signed JSON: the value's bytes as they were signed, kept as text and never written again. */
export interface SignedJson {
  readonly text: string
  /** r and s, 64 bytes. */
  readonly signature: Uint8Array
}

/**
 * The members of a JSON object with the exact text of each value. Only the object's own level is scanned; the values
 * must be JSON, no name may stand twice.
 */
export function rawMembers(text: string, where: string): ReadonlyMap<string, string> {
  const fault = (have: string) =>
    new CofferError("integrity", `${where}: wanted a JSON object, found ${have}`)
  try {
    JSON.parse(text)
  } catch (cause) {
    throw new CofferError("integrity", `${where}: wanted JSON, found something else`, { cause })
  }
  const members = new Map<string, string>()
  let at = skipSpace(text, 0)
  if (text[at] !== "{") throw fault("another value")
  at = skipSpace(text, at + 1)
  while (text[at] !== "}") {
    const nameEnd = valueEnd(text, at)
    const name: unknown = JSON.parse(text.slice(at, nameEnd))
    if (typeof name !== "string" || members.has(name)) throw fault(`${String(name)} twice`)
    const begin = skipSpace(text, skipSpace(text, nameEnd) + 1) // past the colon
    const end = valueEnd(text, begin)
    members.set(name, text.slice(begin, end))
    at = skipSpace(text, end)
    if (text[at] === ",") at = skipSpace(text, at + 1)
  }
  return members
}

function skipSpace(text: string, from: number): number {
  let at = from
  while (/[ \t\r\n]/.test(text[at] ?? "")) at += 1
  return at
}

// The text is JSON (it was parsed before), so brackets balance and strings end.
function valueEnd(text: string, from: number): number {
  const first = text[from] ?? ""
  if (first === '"') return stringEnd(text, from)
  if (first !== "{" && first !== "[") {
    const rest = /[,}\]\s]/.exec(text.slice(from))
    return rest === null ? text.length : from + rest.index
  }
  let depth = 0
  for (let at = from; at < text.length; at += 1) {
    const char = text[at] ?? ""
    if (char === '"') at = stringEnd(text, at) - 1
    else if (char === "{" || char === "[") depth += 1
    else if (char === "}" || char === "]") depth -= 1
    if (depth === 0) return at + 1
  }
  return text.length
}

function stringEnd(text: string, from: number): number {
  let at = from + 1
  while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1
  return at + 1
}

/** `{"tcbInfo": …, "signature": "…"}` or the same with `enclaveIdentity`; `undefined` when `member` is not in it. */
export function signedJson(text: string, member: string, where: string): SignedJson | undefined {
  const members = rawMembers(text, where)
  const value = members.get(member)
  if (value === undefined) return undefined
  const quoted: unknown = JSON.parse(members.get("signature") ?? "null")
  return { text: value, signature: signatureOf(quoted, where) }
}

export function signatureOf(value: unknown, where: string): Uint8Array {
  const signature = typeof value === "string" ? fromHex(value) : undefined
  if (signature?.length !== 64)
    throw new CofferError(
      "integrity",
      `${where}: wanted a signature of 64 bytes in hex, found none`,
    )
  return signature
}
