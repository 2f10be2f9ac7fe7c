import { type KeyObject, sign, X509Certificate } from "node:crypto"
import { isIP } from "node:net"
import { hostname } from "node:os"
import { verifyEd25519 } from "../attest/index.ts"
import { concatBytes, fromHex, toHex } from "../bytes/index.ts"
import { labelBytes } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"
import type { Identity } from "./identity.ts"
import { makeCertificate, p256KeyPair, type SubjectName } from "./x509.ts"

/**
 * TLS of a CAS: a key pair made at every start, in memory only, whose certificate carries the signature of the CAS's
 * pinned identity as a URI among its names. A client checks that one signature, before it sends a byte; no web PKI.
 */
export interface ServerTls {
  readonly key: string
  readonly cert: string
}

const uriPrefix = "urn:coffer:cas:"
const year = 365 * 86_400_000

export function makeServerTls(
  identity: Identity,
  hosts: readonly string[],
  now: number,
): ServerTls {
  const pair = p256KeyPair()
  const signature = toHex(sign(null, message(pair.publicKey), identity.privateKey))
  const hostNames = ["localhost", hostname().toLowerCase(), "127.0.0.1", "::1", ...hosts]
  const names: SubjectName[] = [...new Set(hostNames)]
    .filter((host) => isIP(host) !== 0 || /^[a-z0-9.-]+$/.test(host))
    .map((value) => ({ type: isIP(value) === 0 ? "dns" : "ip", value }))
  const cert = makeCertificate({
    commonName: "coffer-cas",
    issuer: { commonName: "coffer-cas", key: pair.privateKey, publicKey: pair.publicKey },
    publicKey: pair.publicKey,
    notBefore: now - 86_400_000,
    notAfter: now + year,
    use: "server",
    names: [...names, { type: "uri", value: `${uriPrefix}${identity.name}:${signature}` }],
  })
  return { key: pair.privateKey.export({ type: "pkcs8", format: "pem" }), cert }
}

function message(tlsKey: KeyObject): Uint8Array {
  return concatBytes(labelBytes("casTlsKey"), tlsKey.export({ type: "spki", format: "der" }))
}

/** Throws `refused` unless the certificate's key is signed by the pinned CAS key. `der`: the certificate of the peer. */
export function requirePinned(der: Uint8Array, casKey: Uint8Array): void {
  const certificate = new X509Certificate(der)
  const [, name, signature = ""] =
    /urn:coffer:cas:([0-9a-f]{64}):([0-9a-f]{128})(?:,|$)/.exec(certificate.subjectAltName ?? "") ??
    []
  const pinned = toHex(casKey)
  if (name === undefined || name !== pinned)
    throw new CofferError(
      "refused",
      `CAS: wanted the server of ${pinned}, found ${name === undefined ? "a server that is no CAS" : `that of ${name}`}`,
      {
        reason: "cas-key",
        hint: "is the address right? The pinned key is what `coffer cas status` of that CAS prints",
      },
    )
  if (
    !verifyEd25519(casKey, message(certificate.publicKey), fromHex(signature) ?? new Uint8Array())
  )
    throw new CofferError("refused", `CAS: wanted a TLS key signed by ${pinned}, found another`, {
      reason: "cas-tls-key",
      hint: "somebody stands between us and the CAS",
    })
}
