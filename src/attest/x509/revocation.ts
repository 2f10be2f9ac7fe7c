import { equalBytes, toHex } from "../../bytes/index.ts"
import { sha256 } from "../../crypto/index.ts"
import type { Certificate, Crl } from "../../der/index.ts"
import { type Checks, parsed, refuse } from "../checks.ts"
import type { CrlClaims } from "../claims.ts"
import { type Issuer, iso, type VerifiedPath } from "./path.ts"
import { verifyX509 } from "./signature.ts"

export interface RevocationRequest {
  /** As in `PathRequest`. */
  readonly name: string
  /** All that the collateral has, for any issuer. */
  readonly crls: readonly Crl[]
  readonly now: number
  /** Levels of the path (0 is the leaf) that must stand on no CRL of their issuer. */
  readonly levels: readonly number[]
}

/**
 * A certificate whose issuer has no CRL in the collateral is refused: half a revocation check is none. Returns the newest
 * list of each issuer.
 */
export function checkRevocation(
  path: VerifiedPath,
  request: RevocationRequest,
  checks: Checks,
): readonly CrlClaims[] {
  const used = request.levels.map((level) => {
    const certificate = level === 0 ? path.leaf : path.issuers[level - 1]?.certificate
    const issuer = path.issuers[level]
    if (certificate === undefined || issuer === undefined)
      throw new TypeError(`the path has no level ${level}`)
    return newestOf(checkOne(certificate, issuer, request), issuer)
  })
  checks.passed(`${request.name}-not-revoked`)
  return used
}

function newestOf(crls: readonly Crl[], issuer: Issuer): CrlClaims {
  const newest = crls.reduce((best, crl) => (isNewer(crl, best) ? crl : best))
  const { number, thisUpdate } = newest
  return { issuer: toHex(sha256(issuer.publicKey)), number, thisUpdate }
}

function isNewer(one: Crl, other: Crl): boolean {
  const numbers = [one, other].map(({ number }) => BigInt(`0x${number ?? "0"}`))
  const [a = 0n, b = 0n] = numbers
  return a === b ? one.thisUpdate > other.thisUpdate : a > b
}

/** The lists that are in their time. */
function checkOne(
  certificate: Certificate,
  issuer: Issuer,
  request: RevocationRequest,
): readonly Crl[] {
  const fault = (reason: string, message: string) =>
    refuse(reason, `${request.name} revocation: ${message}`, { chain: request.name })
  const named = request.crls.filter((crl) => equalBytes(crl.issuer.raw, issuer.name))
  if (named.length === 0)
    throw fault(
      "crl-issuer",
      `wanted a CRL of ${certificate.issuer.text}, found ${request.crls.map((crl) => crl.issuer.text).join("; ") || "none"}`,
    )
  const signed = named.filter((crl) => isSignedBy(crl, issuer))
  if (signed.length === 0)
    throw fault(
      "crl-signature",
      `wanted a CRL signed by ${certificate.issuer.text}, found a signature that does not verify`,
    )
  // A revocation in any list that the issuer ever signed counts, also in one that is too old to show that nothing else is.
  if (signed.some((crl) => crl.revoked.has(certificate.serial)))
    throw fault(
      "revoked",
      `wanted a certificate in force, found ${certificate.subject.text} revoked`,
    )
  const current = signed.filter((crl) => isCurrent(crl, request.now))
  if (current.length === 0) throw fault(...outsideWindow(signed, request.now))
  const odd = current.flatMap((crl) => crl.unknownCritical)
  if (odd.length > 0)
    throw fault(
      "crl-critical-extension",
      `found a critical extension ${odd.join(", ")} that we do not know`,
    )
  return current
}

function isSignedBy(crl: Crl, issuer: Issuer): boolean {
  if (issuer.certificate?.keyUsage?.crlSign === false) return false
  return parsed("crl-malformed", () =>
    verifyX509(crl.algorithm, issuer.publicKey, crl.signed, crl.signature),
  )
}

function isCurrent(crl: Crl, now: number): boolean {
  return crl.nextUpdate !== undefined && crl.thisUpdate <= now && now <= crl.nextUpdate
}

function outsideWindow(crls: readonly Crl[], now: number): [reason: string, message: string] {
  const early = crls.every((crl) => crl.thisUpdate > now)
  const windows = crls.map(
    (crl) =>
      `${iso(crl.thisUpdate)} to ${crl.nextUpdate === undefined ? "never" : iso(crl.nextUpdate)}`,
  )
  return [
    early ? "crl-not-yet-valid" : "crl-expired",
    `wanted a CRL for ${iso(now)}, found ${windows.join("; ")}`,
  ]
}
