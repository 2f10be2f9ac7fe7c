import { type DerReader, tag } from "./reader.ts"

/** A distinguished name. Names are compared by their bytes: an issuer that is spelt otherwise is another issuer. */
export interface Name {
  readonly raw: Uint8Array
  /** The one common name; undefined when there is none or more than one. */
  readonly commonName: string | undefined
  /** For messages: `CN=…, O=…`. */
  readonly text: string
}

const commonNameOid = "2.5.4.3"
const shortNames: Readonly<Record<string, string>> = {
  [commonNameOid]: "CN",
  "2.5.4.6": "C",
  "2.5.4.7": "L",
  "2.5.4.8": "ST",
  "2.5.4.10": "O",
  "2.5.4.11": "OU",
}

const decoder = new TextDecoder("utf-8", { fatal: true })

export function readName(parent: DerReader, field: string): Name {
  const raw = parent.peek
  if (raw !== tag.sequence) throw parent.fault(field, "a name", String(raw))
  const value = parent.any(field)
  const parts = attributes(value.content, parent, field)
  const common = parts.filter(([type]) => type === commonNameOid)
  return {
    raw: value.raw,
    commonName: common.length === 1 ? common[0]?.[1] : undefined,
    text: parts.map(([type, text]) => `${shortNames[type] ?? type}=${text}`).join(", "),
  }
}

function attributes(content: Uint8Array, parent: DerReader, field: string): [string, string][] {
  const parts: [string, string][] = []
  const rdns = parent.over(content, field)
  while (rdns.more) {
    const set = rdns.inside(tag.set, "rdn")
    do {
      const pair = set.inside(tag.sequence, "attribute")
      const type = pair.oid("type")
      const value = pair.any("value")
      pair.end()
      parts.push([type, stringOf(value.tag, value.content)])
    } while (set.more)
  }
  return parts
}

// Printable ASCII and UTF-8 strings are text; what is in another string type is shown as hex and never matches a role.
function stringOf(type: number, content: Uint8Array): string {
  const known = type === tag.utf8String || type === tag.printableString || type === tag.ia5String
  if (known) {
    try {
      return decoder.decode(content).replaceAll(/[\p{Cc}\p{Cf}]/gu, "?")
    } catch {
      // falls through to hex
    }
  }
  return `#${Buffer.from(content).toString("hex")}`
}
