/** Hot path: every request body. */
import { CofferError } from "../errors.ts"

const maxDepth = 32
const quote = 0x22
const backslash = 0x5c

/**
 * JSON from a stranger: no duplicate key (two readers could take two different values), at most 32 levels. Throws
 * `config` with the offset, never with a value: it could be a secret.
 */
export function parseStrictJson(text: string): unknown {
  let value: unknown
  try {
    requireShallow(text)
    value = JSON.parse(text)
  } catch (error) {
    if (error instanceof CofferError) throw error
    throw new CofferError("config", "request body: wanted JSON, found something else", {
      reason: "json-syntax",
    })
  }
  requireUniqueKeys(text)
  return value
}

/** Before the parser sees it: brackets outside of strings, never more than 32 open. */
function requireShallow(text: string): void {
  let depth = 0
  for (let at = 0; at < text.length; at += 1) {
    const char = text.charCodeAt(at)
    if (char === quote) at = endOfString(text, at)
    else if (char === 0x7b || char === 0x5b) depth += 1
    else if (char === 0x7d || char === 0x5d) depth -= 1
    if (depth > maxDepth)
      throw new CofferError(
        "config",
        `request body: wanted at most ${maxDepth} levels, found more at offset ${at}`,
        { reason: "json-depth" },
      )
  }
}

function endOfString(text: string, start: number): number {
  let at = start + 1
  while (at < text.length) {
    const char = text.charCodeAt(at)
    if (char === quote) return at
    at += char === backslash ? 2 : 1
  }
  return at
}

/** The text is valid JSON here, so a string that a colon follows is a key of the innermost object. */
function requireUniqueKeys(text: string): void {
  const open: Set<string>[] = []
  for (let at = 0; at < text.length; at += 1) {
    const char = text.charCodeAt(at)
    if (char === 0x7b || char === 0x5b) open.push(new Set())
    else if (char === 0x7d || char === 0x5d) open.pop()
    else if (char === quote) {
      const end = endOfString(text, at)
      if (colonFollows(text, end + 1)) addKey(open.at(-1), text.slice(at, end + 1), at)
      at = end
    }
  }
}

function addKey(keys: Set<string> | undefined, source: string, at: number): void {
  // One key can be written in several ways ("a", "\u0061"): what counts is what it means.
  const key = source.includes("\\") ? String(JSON.parse(source)) : source.slice(1, -1)
  if (keys?.has(key) === true)
    throw new CofferError(
      "config",
      `request body: wanted each key once, found one twice at offset ${at}`,
      { reason: "json-duplicate" },
    )
  keys?.add(key)
}

function colonFollows(text: string, start: number): boolean {
  let at = start
  while (" \t\r\n".includes(text.charAt(at)) && at < text.length) at += 1
  return text.charCodeAt(at) === 0x3a
}
