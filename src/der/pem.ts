import { CofferError } from "../errors.ts"

const pattern = /-----BEGIN ([A-Z0-9 ]+)-----\r?\n([A-Za-z0-9+/=\r\n]*?)-----END \1-----/g

export interface PemBlock {
  readonly label: string
  readonly bytes: Uint8Array
}

/** The blocks of a PEM file as people keep them: text around blocks is skipped, base64 must be exact. */
export function parsePem(text: string): PemBlock[] {
  return [...text.matchAll(pattern)].map(([, label = "", body = ""]) => {
    const base64 = body.replaceAll(/[\r\n]/g, "")
    const bytes = new Uint8Array(Buffer.from(base64, "base64"))
    if (Buffer.from(bytes).toString("base64") !== base64)
      throw new CofferError("integrity", `pem: wanted base64 in ${label}, found something else`)
    return { label, bytes }
  })
}

/** One block in the form that we write: lines of 64 characters, `\n` after each. */
export function formatPem(label: string, bytes: Uint8Array): string {
  return layOut(label, bytes, 64, "\n")
}

function layOut(label: string, bytes: Uint8Array, width: number, newline: string): string {
  const base64 = Buffer.from(bytes).toString("base64")
  const lines: string[] = []
  for (let at = 0; at < base64.length; at += width) lines.push(base64.slice(at, at + width))
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ""].join(newline)
}

// Widths seen in real quotes, in one chain even: 64 (Intel's services), 76 (a caching service).
const widths = [64, 76]

/**
 * The certificates of a PEM text that is itself evidence. No signature covers the text, so only a text in a form that we
 * can write again is read: a known width in each block, one kind of newline, nothing between blocks; at the end the last
 * newline may be missing, or one NUL may follow it. So no single byte of it can be changed unnoticed.
 */
export function parseCanonicalPem(bytes: Uint8Array, where: string): Uint8Array[] {
  const text = Buffer.from(bytes).toString("latin1")
  const blocks = parsePem(text).map((block) => block.bytes)
  const newline = text.includes("\r\n") ? "\r\n" : "\n"
  let rest = `${text.replace(/\0$/, "")}${text.endsWith("-") ? newline : ""}`
  for (const block of blocks) {
    const form = widths
      .map((width) => layOut("CERTIFICATE", block, width, newline))
      .find((layout) => rest.startsWith(layout))
    rest = form === undefined ? "not canonical" : rest.slice(form.length)
  }
  const canonical = rest === ""
  if (blocks.length > 0 && canonical) return blocks
  throw new CofferError(
    "integrity",
    `${where}: wanted certificates as canonical PEM, found another form of it`,
  )
}
