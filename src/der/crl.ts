import { equalBytes, toHex } from "../bytes/index.ts"
import { type Name, readName } from "./name.ts"
import { context, DerReader, tag } from "./reader.ts"
import {
  type Algorithm,
  type Extension,
  oids,
  readAlgorithm,
  readExtensions,
  readSigned,
} from "./x509.ts"

/** A certificate revocation list (RFC 5280, section 5). Parsed, not believed. */
export interface Crl {
  readonly raw: Uint8Array
  readonly signed: Uint8Array
  readonly algorithm: Algorithm
  readonly issuer: Name
  readonly thisUpdate: number
  /** Undefined when the list does not say when it ends. */
  readonly nextUpdate: number | undefined
  /** Serial numbers as in `Certificate.serial`. */
  readonly revoked: ReadonlySet<string>
  /** Lower-case hex; undefined when the extension is absent. */
  readonly number: string | undefined
  /** Critical extensions, of the list or of an entry, that were not understood: such a list must not be used. */
  readonly unknownCritical: readonly string[]
  readonly signature: Uint8Array
}

const understood: ReadonlySet<string> = new Set([oids.crlNumber, oids.authorityKeyIdentifier])
const reasonCode = "2.5.29.21"
const invalidityDate = "2.5.29.24"

export function parseCrl(bytes: Uint8Array, where = "crl"): Crl {
  const { signed, body, algorithm, signature } = readSigned(bytes, where)
  if (body.peek === tag.integer && body.small("version") !== 1)
    throw body.fault("version", "2", "another")
  const inner = readAlgorithm(body, "algorithm")
  if (!equalBytes(inner.raw, algorithm.raw))
    throw body.fault("signature algorithm", toHex(inner.raw), toHex(algorithm.raw))
  const issuer = readName(body, "issuer")
  const thisUpdate = body.time("this update")
  const timed = body.peek === tag.utcTime || body.peek === tag.generalizedTime
  const nextUpdate = timed ? body.time("next update") : undefined
  const { revoked, unknown } = readRevoked(body)
  const extensions = body.more ? readCrlExtensions(body) : new Map<string, Extension>()
  body.end()
  const number = extensions.get(oids.crlNumber)
  const critical = [...extensions.values()].filter(
    (item) => item.critical && !understood.has(item.oid),
  )
  return {
    raw: bytes,
    signed,
    algorithm,
    issuer,
    thisUpdate,
    nextUpdate,
    revoked,
    number: number === undefined ? undefined : numberOf(number.value, where),
    unknownCritical: [...critical.map((item) => item.oid), ...unknown],
    signature,
  }
}

function readRevoked(body: DerReader) {
  const revoked = new Set<string>()
  const unknown: string[] = []
  if (body.peek !== tag.sequence) return { revoked, unknown }
  const list = body.inside(tag.sequence, "revoked certificates")
  while (list.more) {
    const entry = list.inside(tag.sequence, "entry")
    revoked.add(toHex(entry.unsigned("serial number")))
    entry.time("revocation date")
    const extensions = entry.more ? readExtensions(entry) : new Map<string, Extension>()
    entry.end()
    for (const { oid, critical } of extensions.values())
      if (critical && oid !== reasonCode && oid !== invalidityDate) unknown.push(oid)
  }
  return { revoked, unknown }
}

function readCrlExtensions(body: DerReader): ReadonlyMap<string, Extension> {
  const outer = body.inside(context(0), "extensions")
  const extensions = readExtensions(outer)
  outer.end()
  return extensions
}

function numberOf(value: Uint8Array, where: string): string {
  const reader = new DerReader(value, `${where}: crl number`)
  const number = toHex(reader.unsigned("value"))
  reader.end()
  return number
}
