import { CofferError } from "../errors.ts"
import type { SecretPolicy } from "./schema.ts"

/**
 * `$$secret:NAME$$` and `$$secret:NAME:PART$$` in argv, environment and file contents. What is put in is not searched
 * again, so a secret's value cannot name another secret.
 */
const pattern = /\$\$secret:([a-z0-9._-]{1,63})(?::([a-z0-9-]{1,16}))?\$\$/g

export interface SecretReference {
  readonly name: string
  readonly part: string | undefined
  readonly whole: string
}

export function secretReferences(text: string): SecretReference[] {
  return [...text.matchAll(pattern)].map(([whole, name = "", part]) => ({ name, part, whole }))
}

/** True when something that begins as a reference is none: it would reach the service as it stands. */
export function hasBrokenReference(text: string): boolean {
  return text.replaceAll(pattern, "").includes("$$secret:")
}

/** The parts of each kind; the first is what a reference with no part gives. */
export function secretParts(kind: SecretPolicy["kind"]): readonly string[] {
  switch (kind) {
    case "random":
      return ["hex", "base64", "raw"]
    case "ascii":
      return ["text", "hex", "base64", "raw"]
    case "given":
      return ["text", "hex", "base64", "raw"]
    case "x509-ca":
      return ["cert", "key"]
    case "x509":
      return ["chain", "cert", "key", "ca"]
    case "import":
      return ["text", "hex", "base64", "raw", "chain", "cert", "key", "ca"]
  }
}

export type PartOf = (name: string, part: string | undefined) => Uint8Array

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** For argv and environment: text with no NUL. `field` is for the message, which never holds a value. */
export function substituteText(text: string, partOf: PartOf, field: string): string {
  return text.replaceAll(pattern, (_, name: string, part: string | undefined) => {
    const value = textOf(partOf(name, part))
    if (value === undefined || value.includes("\0"))
      throw new CofferError(
        "config",
        `${field}: wanted the text of secret ${name}, found bytes that are none`,
        {
          hint: `write $$secret:${name}:hex$$ or $$secret:${name}:base64$$`,
          reason: "secret-not-text",
        },
      )
    return value
  })
}

/** For files: bytes as they are. */
export function substituteBytes(text: string, partOf: PartOf): Uint8Array {
  const out: Uint8Array[] = []
  let at = 0
  for (const match of text.matchAll(pattern)) {
    out.push(Buffer.from(text.slice(at, match.index), "utf8"))
    out.push(partOf(match[1] ?? "", match[2]))
    at = match.index + match[0].length
  }
  out.push(Buffer.from(text.slice(at), "utf8"))
  return Buffer.concat(out)
}

function textOf(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes)
  } catch {
    return undefined
  }
}
