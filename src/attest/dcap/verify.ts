import { concatBytes, equalBytes, fromHex, isZero, toHex } from "../../bytes/index.ts"
import { sha256 } from "../../crypto/index.ts"
import {
  type Certificate,
  DerReader,
  parseCanonicalPem,
  parseCertificate,
  tag,
} from "../../der/index.ts"
import {
  isSgxDebug,
  isTdDebug,
  parseQuote,
  type Quote,
  type SgxReport,
  type TdReport,
} from "../../sgx/index.ts"
import { Checks, parsed, refuse } from "../checks.ts"
import type { SgxClaims, TcbClaims, TdxClaims } from "../claims.ts"
import { type VerifiedPath, verifyPath } from "../x509/path.ts"
import { p256Key, publicKeyOf, verifyEcdsaRaw } from "../x509/signature.ts"
import {
  type DcapContext,
  type Documents,
  requireNotRevoked,
  rootRole,
  verifyDocuments,
} from "./documents.ts"
import { checkCertificationData, type PckExtension, pckExtensionOf } from "./pck.ts"
import type { EnclaveIdentity, SvnLevel, TcbInfo } from "./tcb-info.ts"
import { moduleIdentity, type PlatformState, sgxState, tdxState } from "./tcb-status.ts"

const pckRole = "Intel SGX PCK Certificate"
const pckRoles = [
  [pckRole],
  ["Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"],
  [rootRole],
]

/**
 * Genuine? An SGX or TDX quote, against the pinned root and, where there is collateral, against the state of the
 * platform. Without TCB info the claims have no `tcb`, without CRLs `revocationChecked` is false: `validate` looks at both.
 */
export function verifyDcapQuote(bytes: Uint8Array, context: DcapContext): SgxClaims | TdxClaims {
  const checks = new Checks()
  const quote = parsed("quote-malformed", () => parseQuote(bytes))
  const shown = parsed("quote-malformed", () => certificatesOf(quote))
  const path = verifyPck(quote, shown, context, checks)
  const pck = parsed("pck-extension", () => pckExtensionOf(path.leaf))
  checkCertificationData(quote.certification, pck, checks)
  const revocationChecked = context.collateral.crls.length > 0
  const crls = revocationChecked ? requireNotRevoked(path, "pck", context, checks) : []
  if (!revocationChecked) checks.passed("revocation", "not checked: the collateral has no CRL")
  const documents = verifyDocuments(quote, pck, context, checks)
  checkQe(quote, path.leaf, checks)
  const level =
    documents === undefined ? undefined : checkIdentity(quote.qeReport, documents.identity, checks)
  checkQuoteSignature(quote, checks)
  const tcb =
    documents === undefined || level === undefined
      ? undefined
      : tcbOf(quote, pck, documents, level, checks)
  checks.require(
    isZero(quote.trailing),
    "quote-trailing-bytes",
    "quote: wanted nothing or zeros after the signature, found other bytes",
  )
  if (tcb === undefined) checks.passed("tcb", "not checked: there is no TCB info for this platform")
  const common = { fmspc: pck.fmspc, tcb, revocationChecked, crls, checks: checks.done }
  return quote.body.tee === "sgx"
    ? { ...sgxClaims(quote.body.report), ...common }
    : { ...tdxClaims(quote.body.report), ...common }
}

function certificatesOf(quote: Quote): readonly Certificate[] {
  if (quote.certification.type !== 5) return []
  const { data } = quote.certification
  // Some quoting libraries write the bare DER, one after the other.
  const chain =
    data[0] === tag.sequence ? derValues(data) : parseCanonicalPem(data, "quote: PCK chain")
  return chain.map((der) => parseCertificate(der, "quote: PCK chain"))
}

function derValues(data: Uint8Array): readonly Uint8Array[] {
  const reader = new DerReader(data, "quote: PCK chain")
  const values: Uint8Array[] = []
  while (reader.more) values.push(reader.read(tag.sequence, "certificate").raw)
  return values
}

function verifyPck(
  quote: Quote,
  shown: readonly Certificate[],
  context: DcapContext,
  checks: Checks,
): VerifiedPath {
  const pool = [...shown, ...context.collateral.certificates]
  const leaf = leafOf(quote, shown, context)
  const path = verifyPath(
    { name: "pck", leaf, pool, roles: pckRoles, roots: context.roots.intelSgx, now: context.now },
    checks,
  )
  // No signature covers the list of certificates in the quote: one that the chain does not need has no business there.
  const root = path.issuers.at(-1)
  const needed = (item: Certificate): boolean =>
    [leaf, ...path.issuers.map((issuer) => issuer.certificate)].some(
      (other) => other !== undefined && equalBytes(other.raw, item.raw),
    ) ||
    (root !== undefined &&
      equalBytes(item.publicKey, root.publicKey) &&
      equalBytes(item.subject.raw, root.name))
  const distinct = new Set(shown.map((item) => toHex(item.raw))).size === shown.length
  if (!distinct || !shown.every(needed))
    throw refuse("chain-superfluous", "pck chain: wanted only the chain in the quote, found more")
  return path
}

function isLeaf(item: Certificate): boolean {
  return item.basicConstraints?.ca !== true
}

function leafOf(quote: Quote, shown: readonly Certificate[], context: DcapContext): Certificate {
  if (shown.length > 0) {
    // By its name; when nobody has it, what is no CA is shown to `verifyPath`, which says what is wrong with it.
    const named = shown.filter((item) => item.subject.commonName === pckRole)
    const [leaf, ...more] = named.length > 0 ? named : shown.filter(isLeaf)
    if (leaf === undefined || more.length > 0)
      throw refuse(
        "chain-role",
        "pck chain: wanted one PCK certificate in the quote, found not one",
      )
    return leaf
  }
  const candidates = context.collateral.certificates.filter(
    (item) => isLeaf(item) && item.subject.commonName === pckRole,
  )
  const leaf = candidates.find((item) => signedQe(quote, item)) ?? candidates[0]
  if (leaf === undefined)
    throw refuse(
      "pck-missing",
      `pck chain: wanted the PCK's certificate in the quote or in the collateral, found certification data of type ${quote.certification.type}`,
    )
  return leaf
}

function signedQe(quote: Quote, pck: Certificate): boolean {
  return parsed("chain-malformed", () =>
    verifyEcdsaRaw(
      "sha256",
      publicKeyOf(pck.publicKey),
      quote.qeReport.raw,
      quote.qeReportSignature,
    ),
  )
}

function checkQe(quote: Quote, pck: Certificate, checks: Checks): void {
  checks.require(
    signedQe(quote, pck),
    "qe-report-signature",
    "qe report: wanted a signature by the PCK, found one that does not verify",
  )
  const bound = sha256(concatBytes(quote.attestationKey, quote.qeAuthData))
  const { reportData } = quote.qeReport
  checks.require(
    equalBytes(bound, reportData.subarray(0, 32)),
    "qe-report-data",
    "qe report: wanted the hash of the attestation key, found another",
  )
}

function bytesOfHex(hex: string): Uint8Array {
  const bytes = fromHex(hex)
  if (bytes === undefined) throw new TypeError("the schema lets only hex pass")
  return bytes
}

function masked(value: Uint8Array, mask: Uint8Array): Uint8Array {
  return value.map((byte, i) => byte & (mask[i] ?? 0))
}

function checkIdentity(qe: SgxReport, identity: EnclaveIdentity, checks: Checks): SvnLevel {
  const misc = new Uint8Array(4)
  new DataView(misc.buffer).setUint32(0, qe.miscSelect, true)
  const fields: readonly (readonly [string, string, string])[] = [
    ["miscselect", identity.miscSelect, toHex(masked(misc, bytesOfHex(identity.miscSelectMask)))],
    [
      "attributes",
      identity.attributes,
      toHex(masked(qe.attributes, bytesOfHex(identity.attributesMask))),
    ],
    ["mrsigner", identity.mrSigner, toHex(qe.mrSigner)],
    ["isvprodid", String(identity.productId), String(qe.productId)],
  ]
  for (const [field, want, have] of fields)
    checks.require(
      want === have,
      `qe-identity-${field}`,
      `qe report: ${field}: wanted ${want}, found ${have}`,
    )
  const level = identity.levels.find((item) => qe.svn >= item.svn)
  if (level === undefined)
    throw refuse("qe-not-supported", `qe report: wanted a known level, found ISVSVN ${qe.svn}`)
  return level
}

function checkQuoteSignature(quote: Quote, checks: Checks): void {
  const key = p256Key(quote.attestationKey)
  checks.require(
    key !== undefined && verifyEcdsaRaw("sha256", key, quote.signed, quote.signature),
    "quote-signature",
    "quote: wanted a signature by its attestation key, found one that does not verify",
  )
}

function tcbOf(
  quote: Quote,
  pck: PckExtension,
  { info, identity }: Documents,
  qe: SvnLevel,
  checks: Checks,
): TcbClaims {
  const state = stateOf(quote, pck, info, qe, checks)
  if (state.status === "Revoked")
    throw refuse("tcb-revoked", "tcb: wanted a platform in force, found its TCB level revoked")
  checks.passed("tcb-level", state.status)
  return {
    ...state,
    evaluationNumber: Math.min(info.evaluationNumber, identity.evaluationNumber),
    validUntil: Math.min(info.nextUpdate, identity.nextUpdate),
    issuedAt: Math.max(info.issueDate, identity.issueDate),
  }
}

function stateOf(
  quote: Quote,
  pck: PckExtension,
  info: TcbInfo,
  qe: SvnLevel,
  checks: Checks,
): PlatformState {
  if (quote.body.tee === "sgx") return sgxState(info, pck, qe)
  checkModule(quote.body.report, info, checks)
  return tdxState(info, pck, quote.body.report, qe)
}

function checkModule(report: TdReport, info: TcbInfo, checks: Checks): void {
  const version = report.teeTcbSvn[1] ?? 0
  const module = version === 0 ? info.tdxModule : moduleIdentity(info, version)
  if (module === undefined)
    throw refuse(
      "tdx-module-mismatch",
      `tdx module: wanted an identity for version ${version}, found none`,
    )
  checks.require(
    toHex(report.mrSignerSeam) === module.mrSigner,
    "tdx-module-signer",
    `tdx module: wanted MRSIGNERSEAM ${module.mrSigner}, found ${toHex(report.mrSignerSeam)}`,
  )
  const attributes = toHex(report.seamAttributes)
  checks.require(
    isZero(report.seamAttributes) && attributes === module.attributes,
    "tdx-module-attributes",
    `tdx module: wanted SEAMATTRIBUTES ${module.attributes}, all zero, found ${attributes}`,
  )
}

function sgxClaims(report: SgxReport) {
  return {
    type: "sgx" as const,
    mrEnclave: toHex(report.mrEnclave),
    mrSigner: toHex(report.mrSigner),
    productId: report.productId,
    svn: report.svn,
    debug: isSgxDebug(report.attributes),
    attributes: toHex(report.attributes),
    reportData: toHex(report.reportData),
  }
}

function tdxClaims(report: TdReport) {
  const [rtmr0, rtmr1, rtmr2, rtmr3] = report.rtmrs
  return {
    type: "tdx" as const,
    mrTd: toHex(report.mrTd),
    mrSeam: toHex(report.mrSeam),
    rtmrs: [toHex(rtmr0), toHex(rtmr1), toHex(rtmr2), toHex(rtmr3)] as const,
    mrConfigId: toHex(report.mrConfigId),
    mrOwner: toHex(report.mrOwner),
    mrOwnerConfig: toHex(report.mrOwnerConfig),
    mrServiceTd: report.mrServiceTd === undefined ? undefined : toHex(report.mrServiceTd),
    teeTcbSvn: toHex(report.teeTcbSvn),
    attributes: toHex(report.attributes),
    xfam: toHex(report.xfam),
    debug: isTdDebug(report.attributes),
    reportData: toHex(report.reportData),
  }
}
