import { equalBytes } from "../../bytes/index.ts"
import { type Certificate, oids } from "../../der/index.ts"
import { type Checks, parsed, refuse } from "../checks.ts"
import { verifyX509 } from "./signature.ts"

/** What one chain must be: the number of its levels and who stands on each are fixed, so no longer or shorter chain fits. */
export interface PathRequest {
  /** What the chain is for, in messages and facts: `pck`, `tcb-signing`, `vcek`. */
  readonly name: string
  readonly leaf: Certificate
  /** Where issuers are looked for, in any order. All of it comes from the adversary. */
  readonly pool: readonly Certificate[]
  /** Accepted common names by level, the leaf first, the root last. */
  readonly roles: readonly (readonly string[])[]
  /** Pinned root keys, SubjectPublicKeyInfo. */
  readonly roots: readonly Uint8Array[]
  /** Unix seconds. */
  readonly now: number
  /** Critical extensions, beside those of RFC 5280 that we check, that this chain may carry. */
  readonly understood?: readonly string[]
}

/** A chain that holds: each certificate with the key that signed it. */
export interface VerifiedPath {
  readonly leaf: Certificate
  /** The leaf's issuer, its issuer and so on; the last has the root's key. */
  readonly issuers: readonly Issuer[]
}

/** Who signed: its name and key. The root may be known by its key alone. */
export interface Issuer {
  readonly name: Uint8Array
  readonly publicKey: Uint8Array
  readonly certificate: Certificate | undefined
}

/** Throws `refused` with `reason` `chain-…` or `root-not-pinned`. Revocation is another step: `checkRevocation`. */
export function verifyPath(request: PathRequest, checks: Checks): VerifiedPath {
  const { leaf, roles, name } = request
  checkCertificate(request, leaf, 0)
  const issuers: Issuer[] = []
  let child = leaf
  for (let level = 1; level < roles.length; level += 1) {
    const issuer =
      level === roles.length - 1 ? rootFor(request, child) : authorityFor(request, child, level)
    issuers.push(issuer)
    if (issuer.certificate !== undefined) child = issuer.certificate
  }
  checks.passed(`${name}-chain`)
  return { leaf, issuers }
}

function faultOf(request: PathRequest, reason: string, message: string) {
  return refuse(reason, `${request.name} chain: ${message}`, { chain: request.name })
}

function authorityFor(request: PathRequest, child: Certificate, level: number): Issuer {
  const named = request.pool.filter((other) => equalBytes(other.subject.raw, child.issuer.raw))
  const signer = named.find((other) => signs(other.publicKey, child)) ?? named[0]
  if (signer === undefined)
    throw faultOf(
      request,
      "chain-name",
      `wanted a certificate of ${child.issuer.text}, found none with that name`,
    )
  checkAuthority(request, signer, level)
  if (!signs(signer.publicKey, child))
    throw faultOf(
      request,
      "chain-signature",
      `wanted ${child.subject.text} signed by ${signer.subject.text}, found a signature that does not verify`,
    )
  return { name: signer.subject.raw, publicKey: signer.publicKey, certificate: signer }
}

// The root is believed for its key. A certificate of it, when there is one, is still checked like any other: what is
// shown as evidence must be right in every byte.
function rootFor(request: PathRequest, child: Certificate): Issuer {
  const wanted = request.roles.at(-1) ?? []
  if (!wanted.includes(child.issuer.commonName ?? ""))
    throw faultOf(
      request,
      "chain-role",
      `wanted an issuer named ${wanted.join(" or ")}, found ${child.issuer.text}`,
    )
  const shown = request.pool.filter((other) => equalBytes(other.subject.raw, child.issuer.raw))
  for (const root of shown) checkRoot(request, root)
  const key = request.roots.find((spki) => signs(spki, child))
  if (key === undefined) {
    const other = shown.some((root) => signs(root.publicKey, child))
    throw faultOf(
      request,
      other ? "root-not-pinned" : "chain-signature",
      other
        ? `wanted the pinned root key, found another under the name ${child.issuer.text}`
        : `wanted ${child.subject.text} signed by the pinned root, found a signature that does not verify`,
    )
  }
  const certificate = shown.find((root) => equalBytes(root.publicKey, key))
  return { name: child.issuer.raw, publicKey: key, certificate }
}

function checkRoot(request: PathRequest, root: Certificate): void {
  checkAuthority(request, root, request.roles.length - 1)
  if (!equalBytes(root.issuer.raw, root.subject.raw) || !signs(root.publicKey, root))
    throw faultOf(
      request,
      "chain-signature",
      `wanted a root that signed itself, found ${root.subject.text} that did not`,
    )
}

function checkAuthority(request: PathRequest, authority: Certificate, level: number): void {
  checkCertificate(request, authority, level)
  const constraints = authority.basicConstraints
  if (constraints === undefined || !constraints.ca || authority.keyUsage?.certSign === false)
    throw faultOf(
      request,
      "chain-not-ca",
      `wanted a certificate authority, found ${authority.subject.text} that is none`,
    )
  // RFC 5280, 4.2.1.9: how many authorities may stand between this one and the leaf.
  if (constraints.pathLength !== undefined && constraints.pathLength < level - 1)
    throw faultOf(
      request,
      "chain-path-length",
      `wanted at most ${constraints.pathLength} authorities under ${authority.subject.text}, found ${level - 1}`,
    )
}

const checkedExtensions: readonly string[] = [oids.basicConstraints, oids.keyUsage]

function checkCertificate(request: PathRequest, certificate: Certificate, level: number): void {
  const { subject, notBefore, notAfter } = certificate
  const wanted = request.roles[level] ?? []
  if (!wanted.includes(subject.commonName ?? ""))
    throw faultOf(
      request,
      "chain-role",
      `wanted the name ${wanted.join(" or ")} on level ${level}, found ${subject.text}`,
    )
  if (request.now < notBefore)
    throw faultOf(request, "chain-not-yet-valid", windowText(certificate, request.now))
  if (request.now > notAfter)
    throw faultOf(request, "chain-expired", windowText(certificate, request.now))
  if (level === 0 && certificate.basicConstraints?.ca === true)
    throw faultOf(request, "chain-role", `wanted a leaf, found an authority: ${subject.text}`)
  const known = [...checkedExtensions, ...(request.understood ?? [])]
  for (const { oid, critical } of certificate.extensions.values())
    if (critical && !known.includes(oid))
      throw faultOf(
        request,
        "chain-critical-extension",
        `${subject.text}: found a critical extension ${oid} that we do not know`,
      )
}

function windowText(certificate: Certificate, now: number): string {
  const { subject, notBefore, notAfter } = certificate
  return `${subject.text}: wanted a time from ${iso(notBefore)} to ${iso(notAfter)}, found ${iso(now)}`
}

/** Unix seconds for a message. */
export function iso(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(".000Z", "Z")
}

function signs(publicKey: Uint8Array, child: Certificate): boolean {
  return parsed("chain-malformed", () =>
    verifyX509(child.algorithm, publicKey, child.signed, child.signature),
  )
}
