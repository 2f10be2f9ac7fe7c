import { CofferError } from "../../errors.ts"
import type { Quote } from "../../sgx/index.ts"
import { type Checks, parsed, refuse } from "../checks.ts"
import type { CrlClaims } from "../claims.ts"
import type { Collateral, SignedDocument } from "../collateral.ts"
import type { Roots } from "../roots.ts"
import { iso, type VerifiedPath, verifyPath } from "../x509/path.ts"
import { checkRevocation } from "../x509/revocation.ts"
import { publicKeyOf, verifyEcdsaRaw } from "../x509/signature.ts"
import type { PckExtension } from "./pck.ts"
import {
  type EnclaveIdentity,
  parseEnclaveIdentity,
  parseTcbInfo,
  type TcbInfo,
} from "./tcb-info.ts"

export interface DcapContext {
  readonly collateral: Collateral
  readonly roots: Roots
  /** Unix seconds. */
  readonly now: number
}

export const rootRole = "Intel SGX Root CA"
const tcbRoles = [["Intel SGX TCB Signing"], [rootRole]]

/** No certificate of the path may stand on a CRL of its issuer. The lists that were looked at. */
export function requireNotRevoked(
  path: VerifiedPath,
  name: string,
  context: DcapContext,
  checks: Checks,
): readonly CrlClaims[] {
  const { collateral, now } = context
  const levels = path.issuers.map((_, level) => level)
  return checkRevocation(path, { name, crls: collateral.crls, now, levels }, checks)
}

/** TCB info and QE identity for one platform: signed, in their time, and for this FMSPC and TEE. */
export interface Documents {
  readonly info: TcbInfo
  readonly identity: EnclaveIdentity
}

/** Undefined when the collateral has neither document; one without the other is refused. */
export function verifyDocuments(
  quote: Quote,
  pck: PckExtension,
  context: DcapContext,
  checks: Checks,
): Documents | undefined {
  const { tcbInfos, identities } = context.collateral
  if (tcbInfos.length === 0 && identities.length === 0) return undefined
  const tdx = quote.body.tee === "tdx"
  const info = bestOf(
    tcbInfos,
    "tcb-info",
    context,
    checks,
    parseTcbInfo,
    (item) => item.fmspc === pck.fmspc && item.tee === quote.body.tee,
  )
  if (info.tee !== quote.body.tee)
    throw refuse("tcb-info-tee", `tcb info: wanted one for ${quote.body.tee}, found ${info.tee}`)
  if (info.fmspc !== pck.fmspc)
    throw refuse("tcb-info-fmspc", `tcb info: wanted FMSPC ${pck.fmspc}, found ${info.fmspc}`)
  if (info.pceId !== pck.pceId)
    throw refuse("tcb-info-pceid", `tcb info: wanted PCEID ${pck.pceId}, found ${info.pceId}`)
  checks.passed("tcb-info-platform")
  const wanted = tdx ? "TD_QE" : "QE"
  const identity = bestOf(
    identities,
    "qe-identity",
    context,
    checks,
    parseEnclaveIdentity,
    (item) => item.id === wanted,
  )
  if (identity.id !== wanted)
    throw refuse("qe-identity-id", `qe identity: wanted ${wanted}, found ${identity.id}`)
  return { info, identity }
}

interface Dated {
  readonly issueDate: number
  readonly nextUpdate: number
  readonly evaluationNumber: number
}

// The collateral of a folder has documents for many platforms and times, also forged ones and such of expired signers. A
// first look, before any signature is checked, only puts them in order; the first that holds in all is taken.
function bestOf<T extends Dated>(
  documents: readonly SignedDocument[],
  name: string,
  context: DcapContext,
  checks: Checks,
  parse: (text: string) => T,
  fits: (item: T) => boolean,
): T {
  const ordered = documents
    .map((document) => ({ document, look: lookAt(document, parse) }))
    .toSorted((a, b) => compareLooks(b.look, a.look, fits, context.now))
  let refusal = refuse(
    `${name}-missing`,
    `${name}: wanted one for this platform, found none in the collateral`,
  )
  for (const [i, { document }] of ordered.entries()) {
    try {
      verifyDocument(document, name, context, checks)
      const item = parsed(`${name}-malformed`, () => parse(document.text))
      requireInTime(item, name, context.now)
      checks.passed(`${name}-current`)
      return item
    } catch (error) {
      if (!(error instanceof CofferError) || error.code !== "refused") throw error
      if (i === 0) refusal = error
    }
  }
  throw refusal
}

function lookAt<T>(document: SignedDocument, parse: (text: string) => T): T | undefined {
  try {
    return parse(document.text)
  } catch (error) {
    if (error instanceof CofferError) return undefined
    throw error
  }
}

function compareLooks<T extends Dated>(
  a: T | undefined,
  b: T | undefined,
  fits: (item: T) => boolean,
  now: number,
): number {
  if (a === undefined || b === undefined) return Number(a !== undefined) - Number(b !== undefined)
  return (
    Number(fits(a)) - Number(fits(b)) ||
    Number(inTime(a, now)) - Number(inTime(b, now)) ||
    a.evaluationNumber - b.evaluationNumber ||
    a.issueDate - b.issueDate
  )
}

function inTime(item: Dated, now: number): boolean {
  return item.issueDate <= now && now <= item.nextUpdate
}

function requireInTime(item: Dated, name: string, now: number): void {
  if (inTime(item, now)) return
  throw refuse(
    now < item.issueDate ? `${name}-not-yet-valid` : `${name}-expired`,
    `${name}: wanted one for ${iso(now)}, found ${iso(item.issueDate)} to ${iso(item.nextUpdate)}`,
  )
}

function verifyDocument(
  document: SignedDocument,
  name: string,
  context: DcapContext,
  checks: Checks,
): void {
  const [leaf] = document.chain
  if (leaf === undefined)
    throw refuse(
      `${name}-signer`,
      `${name}: wanted the signer's certificate in the collateral, found none`,
    )
  const pool = [...document.chain, ...context.collateral.certificates]
  const { now, roots } = context
  const path = verifyPath(
    { name: `${name}-signer`, leaf, pool, roles: tcbRoles, roots: roots.intelSgx, now },
    checks,
  )
  if (context.collateral.crls.length > 0) requireNotRevoked(path, `${name}-signer`, context, checks)
  const text = new TextEncoder().encode(document.text)
  checks.require(
    verifyEcdsaRaw("sha256", publicKeyOf(leaf.publicKey), text, document.signature),
    `${name}-signature`,
    `${name}: wanted a signature by ${leaf.subject.text}, found one that does not verify`,
  )
}
