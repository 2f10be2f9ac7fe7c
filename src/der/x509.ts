import { equalBytes, toHex } from "../bytes/index.ts"
import { type Name, readName } from "./name.ts"
import { context, DerReader, tag } from "./reader.ts"

export interface Algorithm {
  readonly oid: string
  /** The whole AlgorithmIdentifier. */
  readonly raw: Uint8Array
  /** The parameters with their header; undefined when there are none. */
  readonly parameters: Uint8Array | undefined
}

export interface Extension {
  readonly oid: string
  readonly critical: boolean
  /** The content of the OCTET STRING. */
  readonly value: Uint8Array
}

/** A certificate as RFC 5280 lays it out. Parsed, not believed: nothing here is verified. */
export interface Certificate {
  readonly raw: Uint8Array
  /** What the signature covers. */
  readonly signed: Uint8Array
  readonly version: number
  /** Lower-case hex of the magnitude. */
  readonly serial: string
  readonly algorithm: Algorithm
  readonly issuer: Name
  readonly subject: Name
  /** Unix seconds, both ends included. */
  readonly notBefore: number
  readonly notAfter: number
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array
  readonly extensions: ReadonlyMap<string, Extension>
  readonly basicConstraints: BasicConstraints | undefined
  /** Undefined when the extension is absent. */
  readonly keyUsage: KeyUsage | undefined
  readonly signature: Uint8Array
}

export interface BasicConstraints {
  readonly ca: boolean
  readonly pathLength: number | undefined
}

export interface KeyUsage {
  readonly digitalSignature: boolean
  readonly certSign: boolean
  readonly crlSign: boolean
}

export const oids = {
  keyUsage: "2.5.29.15",
  basicConstraints: "2.5.29.19",
  crlNumber: "2.5.29.20",
  authorityKeyIdentifier: "2.5.29.35",
} as const

/** The outer frame that certificates and CRLs share: signed part, algorithm, signature. */
export function readSigned(bytes: Uint8Array, where: string) {
  const outer = new DerReader(bytes, where)
  const frame = outer.inside(tag.sequence, "frame")
  outer.end()
  const body = frame.read(tag.sequence, "signed part")
  const algorithm = readAlgorithm(frame, "signature algorithm")
  const signature = frame.bits("signature")
  frame.end()
  return { signed: body.raw, body: new DerReader(body.content, where), algorithm, signature }
}

export function readAlgorithm(parent: DerReader, field: string): Algorithm {
  const value = parent.read(tag.sequence, field)
  const inner = parent.over(value.content, field)
  const oid = inner.oid("algorithm")
  const parameters = inner.more ? inner.any("parameters").raw : undefined
  inner.end()
  return { oid, raw: value.raw, parameters }
}

export function parseCertificate(bytes: Uint8Array, where = "certificate"): Certificate {
  const { signed, body, algorithm, signature } = readSigned(bytes, where)
  const version = readVersion(body)
  const serial = toHex(body.unsigned("serial number"))
  const inner = readAlgorithm(body, "algorithm")
  // RFC 5280, 4.1.1.2: the unsigned copy of the algorithm must be the signed one.
  if (!equalBytes(inner.raw, algorithm.raw))
    throw body.fault("signature algorithm", toHex(inner.raw), toHex(algorithm.raw))
  const issuer = readName(body, "issuer")
  const validity = body.inside(tag.sequence, "validity")
  const notBefore = validity.time("not before")
  const notAfter = validity.time("not after")
  validity.end()
  const subject = readName(body, "subject")
  const publicKey = body.read(tag.sequence, "public key").raw
  const extensions = readTail(body, version)
  return {
    raw: bytes,
    signed,
    version,
    serial,
    algorithm,
    issuer,
    subject,
    notBefore,
    notAfter,
    publicKey,
    extensions,
    basicConstraints: basicConstraintsOf(extensions, where),
    keyUsage: keyUsageOf(extensions, where),
    signature,
  }
}

function readVersion(body: DerReader): number {
  if (body.peek !== context(0)) return 1
  const inner = body.inside(context(0), "version")
  const version = inner.small("version") + 1
  inner.end()
  if (version !== 2 && version !== 3) throw body.fault("version", "2 or 3", String(version))
  return version
}

function readTail(body: DerReader, version: number): ReadonlyMap<string, Extension> {
  body.optional(context(1, false), "issuer unique id")
  body.optional(context(2, false), "subject unique id")
  if (!body.more) return new Map()
  if (version !== 3) throw body.fault("extensions", "version 3", String(version))
  const outer = body.inside(context(3), "extensions")
  const extensions = readExtensions(outer)
  outer.end()
  body.end()
  return extensions
}

export function readExtensions(parent: DerReader): ReadonlyMap<string, Extension> {
  const list = parent.inside(tag.sequence, "extensions")
  const extensions = new Map<string, Extension>()
  while (list.more) {
    const item = list.inside(tag.sequence, "extension")
    const oid = item.oid("id")
    const critical = item.peek === tag.boolean ? item.boolean("critical") : false
    const value = item.octets("value")
    item.end()
    if (extensions.has(oid)) throw list.fault("extension", "each once", `${oid} twice`)
    extensions.set(oid, { oid, critical, value })
  }
  return extensions
}

function basicConstraintsOf(
  extensions: ReadonlyMap<string, Extension>,
  where: string,
): BasicConstraints | undefined {
  const extension = extensions.get(oids.basicConstraints)
  if (extension === undefined) return undefined
  const outer = new DerReader(extension.value, `${where}: basic constraints`)
  const inner = outer.inside(tag.sequence, "value")
  outer.end()
  const ca = inner.peek === tag.boolean ? inner.boolean("ca") : false
  const pathLength = inner.more ? inner.small("path length") : undefined
  inner.end()
  return { ca, pathLength }
}

function keyUsageOf(
  extensions: ReadonlyMap<string, Extension>,
  where: string,
): KeyUsage | undefined {
  const extension = extensions.get(oids.keyUsage)
  if (extension === undefined) return undefined
  const reader = new DerReader(extension.value, `${where}: key usage`)
  const { content } = reader.read(tag.bitString, "value")
  reader.end()
  const [unused = 8, bits = 0] = content
  if (content.length < 2 || content.length > 3 || unused > 7)
    throw reader.fault("value", "a named bit list", toHex(content))
  return {
    digitalSignature: (bits & 0x80) !== 0,
    certSign: (bits & 0x04) !== 0,
    crlSign: (bits & 0x02) !== 0,
  }
}
