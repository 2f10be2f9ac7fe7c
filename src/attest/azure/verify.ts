import { createPublicKey } from "node:crypto"
import { equalBytes, isZero, toHex } from "../../bytes/index.ts"
import { sha256, sha384 } from "../../crypto/index.ts"
import { parseCertificate } from "../../der/index.ts"
import { parseQuote } from "../../sgx/index.ts"
import { Checks, parsed, refuse } from "../checks.ts"
import type { AzureClaims, SnpClaims, TdxClaims, Tpm2Claims } from "../claims.ts"
import type { Collateral } from "../collateral.ts"
import { verifyDcapQuote } from "../dcap/verify.ts"
import type { Roots } from "../roots.ts"
import { verifySnpReport } from "../snp/verify.ts"
import { verifyTpmQuote } from "../tpm2/verify.ts"
import {
  type AzureEvidence,
  type HclReport,
  parseAzureEvidence,
  tpmtSignature,
} from "./evidence.ts"

export interface AzureContext {
  readonly collateral: Collateral
  readonly roots: Roots
  /** Unix seconds. */
  readonly now: number
  /** What the TPM quote's qualifying data must be; undefined: not checked. */
  readonly nonce: Uint8Array | undefined
}

/**
 * Genuine? The hardware's report binds the virtual TPM's key (the hash of the runtime data that names it is its report
 * data); the TPM's quote binds nonce and PCRs. Each link is checked, so that none can come from another machine.
 */
export function verifyAzureEvidence(text: string, context: AzureContext): AzureClaims {
  const checks = new Checks()
  const evidence = parsed("evidence-malformed", () => parseAzureEvidence(text))
  const { pcrs } = evidence
  const claims = verifyAzureParts(
    {
      ...evidence,
      signature: tpmtSignature(evidence.signature),
      pcrs: Object.fromEntries(pcrs.map((pcr, i) => [`sha256:${i}`, toHex(pcr)])),
    },
    context,
  )
  checkUserData(evidence, claims.tpm, checks)
  return { ...claims, checks: [...claims.checks, ...checks.done] }
}

/** What the evidence of an Azure machine consists of, however it is written down. */
export interface AzureParts extends Pick<AzureEvidence, "hcl" | "certificates" | "tdQuote"> {
  /** TPMS_ATTEST and TPMT_SIGNATURE. */
  readonly message: Uint8Array
  readonly signature: Uint8Array
  /** `sha256:15` to hex. */
  readonly pcrs: Readonly<Record<string, string>>
}

/** The chain itself: hardware, runtime data, virtual TPM, nonce and PCRs. */
export function verifyAzureParts(parts: AzureParts, context: AzureContext): AzureClaims {
  const checks = new Checks()
  const { hcl } = parts
  const hardware = verifyHardware(parts, context, checks)
  checks.passed(hardware.type)
  const reportData = Buffer.from(hardware.reportData, "hex")
  checks.require(
    equalBytes(reportData.subarray(0, 32), sha256(hcl.runtimeData)) &&
      isZero(reportData.subarray(32)),
    "hcl-runtime-data",
    "hcl report: wanted the hash of the runtime data in the report data, found another",
  )
  const tpm = verifyTpmQuote({
    message: parts.message,
    signature: parts.signature,
    ak: { kind: "spki", bytes: attestationKey(hcl) },
    pcrs: parts.pcrs,
    nonce: context.nonce,
  })
  checks.passed("tpm2")
  return { type: "azure", hardware, tpm, checks: checks.done }
}

// The version decides what is checked, and nothing signs it: so it must follow from what is signed.
function checkUserData(evidence: AzureEvidence, tpm: Tpm2Claims, checks: Checks): void {
  const { version, hcl, unpadded } = evidence
  const bound = toHex(hcl.userData) === tpm.extraData.padEnd(128, "0") && tpm.extraData !== ""
  const none = isZero(hcl.userData)
  checks.require(
    unpadded ? version === 1 && (none || bound) : version === 2 ? bound : none,
    "hcl-user-data",
    version === 2
      ? "hcl runtime data: wanted the nonce of the TPM quote as user data, found another"
      : "hcl runtime data: wanted no user data in evidence before version 2, found some",
  )
}

function verifyHardware(
  evidence: AzureParts,
  context: AzureContext,
  checks: Checks,
): SnpClaims | TdxClaims {
  const { collateral, roots, now } = context
  if (evidence.hcl.tee === "tdx") {
    if (evidence.tdQuote === undefined || evidence.certificates.length > 0)
      throw refuse("evidence-malformed", "azure evidence: wanted a TD quote, found none")
    const claims = verifyDcapQuote(evidence.tdQuote, { collateral, roots, now })
    const { qeReport } = parseQuote(evidence.tdQuote)
    if (claims.type === "tdx") return checkedTdReport(evidence.hcl, claims, qeReport.cpuSvn, checks)
    throw refuse("evidence-malformed", "azure evidence: wanted a TDX quote, found an SGX quote")
  }
  if (evidence.tdQuote !== undefined)
    throw refuse("evidence-malformed", "azure evidence: wanted no TD quote beside an SNP report")
  const shown = parsed("vek-malformed", () =>
    evidence.certificates.map((der) => parseCertificate(der, "azure evidence: vcek")),
  )
  return verifySnpReport(evidence.hcl.hardwareReport, { collateral, shown, roots, now })
}

// TDREPORT_STRUCT: 256 bytes of MAC structure, TEE_TCB_INFO, TDINFO at 512. Only the CPU that made it can check its MAC,
// so nothing is taken from it: it must be the report that the quote was made from, and that is all.
function checkedTdReport(
  hcl: HclReport,
  claims: TdxClaims,
  cpuSvn: Uint8Array,
  checks: Checks,
): TdxClaims {
  const report = hcl.hardwareReport
  const info = report.subarray(512, 1024)
  // Type TDX, of version 1 when service TDs are bound to it; the CPU's SVN is the quoting enclave's, which ran there too.
  const head = [0x81, 0, 0, isZero(info.subarray(400, 448)) ? 0 : 1, ...new Uint8Array(12)]
  const [rtmr0, rtmr1, rtmr2, rtmr3] = claims.rtmrs
  const { attributes, xfam, mrTd, mrConfigId, mrOwner, mrOwnerConfig } = claims
  const registers = [mrTd, mrConfigId, mrOwner, mrOwnerConfig, rtmr0, rtmr1, rtmr2, rtmr3]
  const fields = [attributes, xfam, ...registers].join("")
  const same =
    equalBytes(report.subarray(0, 32), Uint8Array.from([...head, ...cpuSvn])) &&
    isZero(report.subarray(192, 224)) &&
    isZero(report.subarray(495, 512)) &&
    toHex(report.subarray(128, 192)) === claims.reportData &&
    toHex(info).startsWith(fields) &&
    equalBytes(sha384(report.subarray(256, 495)), report.subarray(32, 80)) &&
    equalBytes(sha384(info), report.subarray(80, 128)) &&
    isZero(report.subarray(1024))
  if (!same)
    throw refuse("hcl-td-report", "hcl report: wanted the TD report of the quote, found another")
  checks.passed(
    "hcl-td-report",
    "its MAC is for the CPU alone: not checked, nothing is taken from it",
  )
  return claims
}

function attestationKey(hcl: HclReport): Uint8Array {
  try {
    const key = createPublicKey({
      key: { kty: "RSA", n: hcl.akModulus, e: hcl.akExponent },
      format: "jwk",
    })
    return new Uint8Array(key.export({ type: "spki", format: "der" }))
  } catch {
    throw refuse("ak-malformed", "hcl runtime data: wanted an RSA key, found none")
  }
}
