import { constants, createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto"
import {
  bits,
  boolean,
  der,
  explicit,
  integer,
  octets,
  oid,
  sequence,
  time,
  utf8String,
} from "./der-writer.ts"

/** A certification authority for tests: it makes whatever certificate or CRL it is told to, also wrong ones. */

export interface Party {
  readonly name: string
  readonly key: KeyObject
}

export interface CertificateRequest {
  readonly subject: string
  readonly publicKey: KeyObject
  readonly issuer: Party
  /** Undefined: no basic constraints at all. */
  readonly ca?: boolean | undefined
  readonly pathLength?: number
  readonly keyUsage?: readonly ("digitalSignature" | "certSign" | "crlSign")[]
  readonly notBefore?: number
  readonly notAfter?: number
  readonly serial?: number
  readonly extensions?: readonly ExtensionRequest[]
}

export interface ExtensionRequest {
  readonly oid: string
  readonly critical?: boolean
  readonly value: Uint8Array
}

export const year = 365 * 86400
export const testNow = 1_780_000_000

export function ecKey(curve: "P-256" | "P-384" = "P-256"): KeyObject {
  return generateKeyPairSync("ec", { namedCurve: curve }).privateKey
}

export function rsaKey(): KeyObject {
  return generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey
}

function algorithmOf(key: KeyObject): Uint8Array {
  if (key.asymmetricKeyType === "ec") {
    const p256 = key.asymmetricKeyDetails?.namedCurve === "prime256v1"
    return sequence(oid(p256 ? "1.2.840.10045.4.3.2" : "1.2.840.10045.4.3.3"))
  }
  const sha384 = sequence(oid("2.16.840.1.101.3.4.2.2"), der(0x05))
  const mask = sequence(oid("1.2.840.113549.1.1.8"), sha384)
  return sequence(
    oid("1.2.840.113549.1.1.10"),
    sequence(explicit(0, sha384), explicit(1, mask), explicit(2, integer(48))),
  )
}

function signature(data: Uint8Array, key: KeyObject): Uint8Array {
  if (key.asymmetricKeyType === "ec")
    return sign(
      key.asymmetricKeyDetails?.namedCurve === "prime256v1" ? "sha256" : "sha384",
      data,
      key,
    )
  return sign("sha384", data, {
    key,
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: 48,
  })
}

function signed(body: Uint8Array, key: KeyObject): Uint8Array {
  return sequence(body, algorithmOf(key), bits(signature(body, key)))
}

export function nameDer(commonName: string): Uint8Array {
  const attribute = sequence(oid("2.5.4.3"), utf8String(commonName))
  return sequence(der(0x31, attribute))
}

function extension({ oid: id, critical, value }: ExtensionRequest): Uint8Array {
  return sequence(oid(id), ...(critical === true ? [boolean(true)] : []), octets(value))
}

const usageBits = { digitalSignature: 0x80, certSign: 0x04, crlSign: 0x02 } as const

let nextSerial = 1000

/** DER. */
export function makeCertificate(request: CertificateRequest): Uint8Array {
  const { issuer, ca, pathLength, keyUsage } = request
  nextSerial += 1
  const constraints =
    ca === undefined
      ? []
      : sequenceOf([
          ...(ca ? [boolean(true)] : []),
          ...(pathLength === undefined ? [] : [integer(pathLength)]),
        ])
  const usage =
    keyUsage === undefined
      ? []
      : [
          extension({
            oid: "2.5.29.15",
            critical: true,
            value: der(
              0x03,
              Buffer.from([1, keyUsage.reduce((sum, name) => sum | usageBits[name], 0)]),
            ),
          }),
        ]
  const extensions = [
    ...constraints.map((value) => extension({ oid: "2.5.29.19", critical: true, value })),
    ...usage,
    ...(request.extensions ?? []).map(extension),
  ]
  const body = sequence(
    explicit(0, integer(2)),
    integer(request.serial ?? nextSerial),
    algorithmOf(issuer.key),
    nameDer(issuer.name),
    sequence(time(request.notBefore ?? testNow - year), time(request.notAfter ?? testNow + year)),
    nameDer(request.subject),
    spkiOf(request.publicKey),
    ...(extensions.length > 0 ? [explicit(3, sequence(...extensions))] : []),
  )
  return signed(body, issuer.key)
}

function sequenceOf(parts: readonly Uint8Array[]): readonly Uint8Array[] {
  return [sequence(...parts)]
}

export function spkiOf(key: KeyObject): Uint8Array {
  const publicKey = key.type === "private" ? createPublicKey(key) : key
  return publicKey.export({ type: "spki", format: "der" })
}

export interface CrlRequest {
  readonly issuer: Party
  readonly revoked?: readonly number[]
  readonly thisUpdate?: number
  readonly nextUpdate?: number
  readonly criticalExtension?: string
}

export function makeCrl(request: CrlRequest): Uint8Array {
  const { issuer, revoked = [] } = request
  const thisUpdate = request.thisUpdate ?? testNow - 86400
  const entries = revoked.map((serial) => sequence(integer(serial), time(thisUpdate)))
  const number = extension({ oid: "2.5.29.20", value: integer(1) })
  const odd =
    request.criticalExtension === undefined
      ? []
      : [extension({ oid: request.criticalExtension, critical: true, value: integer(1) })]
  const body = sequence(
    integer(1),
    algorithmOf(issuer.key),
    nameDer(issuer.name),
    time(thisUpdate),
    time(request.nextUpdate ?? testNow + 86400),
    ...(entries.length > 0 ? [sequence(...entries)] : []),
    explicit(0, sequence(number, ...odd)),
  )
  return signed(body, issuer.key)
}

/** A root that signed itself. */
export function makeRoot(party: Party, more: Partial<CertificateRequest> = {}): Uint8Array {
  return makeCertificate({
    subject: party.name,
    publicKey: party.key,
    issuer: party,
    ca: true,
    keyUsage: ["certSign", "crlSign"],
    ...more,
  })
}
