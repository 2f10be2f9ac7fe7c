import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto"
import { isIP } from "node:net"
import { fromHex, utf8 } from "../bytes/index.ts"
import { randomBytes } from "../crypto/index.ts"
import {
  bitString,
  derTrue,
  integer,
  octets,
  oid,
  sequence,
  set,
  time,
  tlv,
  utf8String,
} from "./der-write.ts"

/** X.509 certificates of the CAS: its own TLS certificate, and the key pairs that policies ask for. ECDSA P-256. */
export interface CertificateRequest {
  readonly commonName: string
  readonly issuer: {
    readonly commonName: string
    readonly key: KeyObject
    readonly publicKey: KeyObject
  }
  readonly publicKey: KeyObject
  /** Milliseconds. */
  readonly notBefore: number
  readonly notAfter: number
  readonly use: "ca" | "server" | "client" | "both"
  readonly names: readonly SubjectName[]
}

export type SubjectName =
  | { readonly type: "dns"; readonly value: string }
  | { readonly type: "ip"; readonly value: string }
  | { readonly type: "uri"; readonly value: string }

export function p256KeyPair(): { readonly privateKey: KeyObject; readonly publicKey: KeyObject } {
  return generateKeyPairSync("ec", { namedCurve: "P-256" })
}

const ecdsaSha256 = sequence(oid("1.2.840.10045.4.3.2"))

/** PEM. */
export function makeCertificate(request: CertificateRequest): string {
  const { commonName, issuer, publicKey } = request
  const body = sequence(
    tlv(0xa0, integer(new Uint8Array([2]))),
    integer(positive(randomBytes(16))),
    ecdsaSha256,
    nameOf(issuer.commonName),
    sequence(time(request.notBefore), time(request.notAfter)),
    nameOf(commonName),
    spki(publicKey),
    tlv(0xa3, sequence(...extensions(request))),
  )
  const signature = sign("sha256", body, issuer.key)
  return pem("CERTIFICATE", sequence(body, ecdsaSha256, bitString(signature)))
}

function positive(bytes: Uint8Array): Uint8Array {
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40
  return bytes
}

function nameOf(commonName: string): Uint8Array {
  return sequence(set(sequence(oid("2.5.4.3"), utf8String(commonName))))
}

function spki(key: KeyObject): Uint8Array {
  return key.export({ type: "spki", format: "der" })
}

/** RFC 5280 method 1: SHA-1 over the key's bits, here an uncompressed P-256 point at the end of the SPKI. */
function keyIdentifier(key: KeyObject): Uint8Array {
  return createHash("sha1").update(spki(key).subarray(-65)).digest()
}

function extension(id: string, critical: boolean, value: Uint8Array): Uint8Array {
  return critical ? sequence(oid(id), derTrue, octets(value)) : sequence(oid(id), octets(value))
}

function extensions(request: CertificateRequest): Uint8Array[] {
  const ca = request.use === "ca"
  const list = [
    extension("2.5.29.19", true, ca ? sequence(derTrue, integer(new Uint8Array([0]))) : sequence()),
    // keyCertSign and cRLSign, or digitalSignature.
    extension(
      "2.5.29.15",
      true,
      ca ? bitString(new Uint8Array([0x06]), 1) : bitString(new Uint8Array([0x80]), 7),
    ),
    extension("2.5.29.14", false, octets(keyIdentifier(request.publicKey))),
    extension("2.5.29.35", false, sequence(tlv(0x80, keyIdentifier(request.issuer.publicKey)))),
  ]
  if (!ca) list.push(extension("2.5.29.37", false, sequence(...purposes(request.use).map(oid))))
  if (request.names.length > 0)
    list.push(extension("2.5.29.17", false, sequence(...request.names.map(generalName))))
  return list
}

function purposes(use: CertificateRequest["use"]): string[] {
  const [server, client] = ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]
  return [...(use === "client" ? [] : [server]), ...(use === "server" ? [] : [client])]
}

function generalName(name: SubjectName): Uint8Array {
  switch (name.type) {
    case "dns":
      return tlv(0x82, utf8(name.value))
    case "uri":
      return tlv(0x86, utf8(name.value))
    case "ip":
      return tlv(0x87, ipBytes(name.value))
  }
}

function groups(side: string): string[] {
  return side.split(":").filter((part) => part !== "")
}

function ipBytes(text: string): Uint8Array {
  if (isIP(text) === 4) return new Uint8Array(text.split(".").map(Number))
  const [left = "", right] = text.split("::")
  const end = right === undefined ? [] : groups(right)
  const zeros = Array.from({ length: 8 - groups(left).length - end.length }, () => "0")
  const hex = [...groups(left), ...zeros, ...end].map((part) => part.padStart(4, "0")).join("")
  return fromHex(hex) ?? new Uint8Array(16)
}

function pem(type: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN ${type}-----\n${lines.join("\n")}\n-----END ${type}-----\n`
}
