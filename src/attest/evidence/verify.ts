import { equalBytes, fromHex, toHex } from "../../bytes/index.ts"
import { parseCertificate } from "../../der/index.ts"
import { parseHclReport } from "../azure/evidence.ts"
import { verifyAzureParts } from "../azure/verify.ts"
import { Checks, parsed, refuse } from "../checks.ts"
import type {
  EnclaveClaims,
  EvidenceClaims,
  PlatformClaims,
  SnpClaims,
  TdxClaims,
} from "../claims.ts"
import { type Collateral, noCollateral } from "../collateral.ts"
import { verifyDcapQuote } from "../dcap/verify.ts"
import { productionRoots, type Roots } from "../roots.ts"
import { verifySnpReport } from "../snp/verify.ts"
import { verifyTpmQuote } from "../tpm2/verify.ts"
import { platformBinding, releaseReportData, tpmQualifyingData } from "./bindings.ts"
import { verifyEd25519 } from "./ed25519.ts"
import { decodeReport, reportMessage } from "./report.ts"
import { type Evidence, type NodeEvidence, parseEvidence } from "./schema.ts"
import { verifySim } from "./sim.ts"

/** What a verification of platform evidence needs from outside: no clock, no network, no root of its own. */
export interface PlatformContext {
  /** Unix seconds. */
  readonly now: number
  /** TCB info, CRLs, certificates; undefined: none, and then the claims say that nothing was checked against it. */
  readonly collateral?: Collateral
  /** Undefined: the vendors' production roots. */
  readonly roots?: Roots
  /**
   * Whether `nonce` is one that this CAS gave out for platform evidence and still accepts: a node may show one quote for
   * several enclaves, for as long as the CAS says.
   */
  readonly acceptsPlatformNonce: (nonce: Uint8Array) => boolean
}

/** The same for a whole exchange. */
export interface EvidenceContext extends PlatformContext {
  /** The challenge of this exchange, 32 bytes; the caller sees to it that it is used once. */
  readonly nonce: Uint8Array
  /** The CAS's Ed25519 public key, 32 bytes. */
  readonly casKey: Uint8Array
  /** The policy that the service asks for. */
  readonly policyName: string
}

/** Platform evidence after verification. The CAS may keep it, by `platformDigest`, until the nonce's time is over. */
export interface VerifiedPlatform {
  readonly claims: PlatformClaims
  readonly nodeKey: Uint8Array
}

function bytes(hex: string): Uint8Array {
  const value = fromHex(hex)
  if (value === undefined) throw new TypeError("the schema lets only hex pass")
  return value
}

/** Genuine platform evidence for its own nonce and node key. Pure. */
export function verifyPlatform(evidence: NodeEvidence, context: PlatformContext): VerifiedPlatform {
  const nonce = bytes(evidence.nonce)
  if (!context.acceptsPlatformNonce(nonce))
    throw refuse(
      "platform-nonce",
      "platform evidence: wanted a nonce that this CAS gave out, found another or an old one",
    )
  const nodeKey = bytes(evidence.nodeKey)
  const binding = platformBinding(nonce, nodeKey)
  return { claims: verifyBound(evidence, binding, context), nodeKey }
}

function verifyBound(
  evidence: NodeEvidence,
  binding: Uint8Array,
  context: PlatformContext,
): PlatformClaims {
  const { now, collateral = noCollateral, roots = productionRoots } = context
  switch (evidence.type) {
    case "insecure-sim":
      return verifySim(bytes(evidence.key), bytes(evidence.signature), binding)
    case "tdx": {
      const claims = verifyDcapQuote(bytes(evidence.quote), { collateral, roots, now })
      if (claims.type !== "tdx")
        throw refuse("evidence-malformed", "evidence: wanted a TDX quote, found one of SGX")
      return bound(claims, binding)
    }
    case "sev-snp": {
      const shown = parsed("vek-malformed", () =>
        evidence.certificates.map((der) => parseCertificate(bytes(der), "evidence")),
      )
      const report = bytes(evidence.report)
      return bound(verifySnpReport(report, { collateral, shown, roots, now }), binding)
    }
    case "tpm2":
      return verifyTpmQuote({
        message: bytes(evidence.message),
        signature: bytes(evidence.signature),
        ak: { kind: "tpmt", bytes: bytes(evidence.ak) },
        pcrs: evidence.pcrs,
        nonce: tpmQualifyingData(binding),
      })
    case "azure":
      return verifyAzureParts(
        {
          hcl: parsed("evidence-malformed", () => parseHclReport(bytes(evidence.hcl))),
          message: bytes(evidence.message),
          signature: bytes(evidence.signature),
          pcrs: evidence.pcrs,
          certificates: evidence.certificates.map(bytes),
          tdQuote: undefined,
        },
        { collateral, roots, now, nonce: tpmQualifyingData(binding) },
      )
  }
}

// A quote is genuine for whoever asked for it; only its report data says that it was made for this node key and nonce.
function bound<T extends TdxClaims | SnpClaims>(claims: T, binding: Uint8Array): T {
  if (claims.reportData === toHex(binding)) return claims
  throw refuse(
    "platform-binding",
    `platform evidence: wanted report data that binds the node key and the nonce (${toHex(binding).slice(0, 16)}…), found ${claims.reportData.slice(0, 16)}…`,
  )
}

/** An SGX enclave speaks for itself: what a node agent's report says stands in its quote. */
function verifyEnclaveQuote(
  quote: string,
  ephemeralKey: Uint8Array,
  context: EvidenceContext,
): EvidenceClaims {
  const { now, collateral = noCollateral, roots = productionRoots } = context
  const claims = verifyDcapQuote(bytes(quote), { collateral, roots, now })
  if (claims.type !== "sgx")
    throw refuse("evidence-malformed", "evidence: wanted an SGX quote, found one of TDX")
  if (claims.reportData !== toHex(releaseReportData({ ...context, ephemeralKey })))
    throw refuse(
      "report-data",
      "sgx quote: wanted report data that binds this nonce, key, CAS and policy, found another",
    )
  const enclave: EnclaveClaims = {
    mrEnclave: claims.mrEnclave,
    mrSigner: claims.mrSigner,
    productId: claims.productId,
    svn: claims.svn,
    debug: claims.debug,
    engineTrusted: false,
    runtimeVersion: [0, 0, 0],
  }
  return { platform: claims, nodeKey: "", enclave, ephemeralKey }
}

/** The enclave report, signed by a node key that platform evidence vouched for. */
function verifyReport(
  report: { readonly body: string; readonly signature: string },
  ephemeralKey: Uint8Array,
  nodeKey: Uint8Array,
  context: EvidenceContext,
): EnclaveClaims {
  const checks = new Checks()
  const body = bytes(report.body)
  // Only the label of a releasing report is accepted: a service can ask the agent for a report of the other kind, with
  // any report data it likes.
  checks.require(
    verifyEd25519(nodeKey, reportMessage("release", body), bytes(report.signature)),
    "report-signature",
    "enclave report: wanted a releasing report signed by the node key, found a signature that does not verify",
  )
  const { enclave, reportData } = parsed("report-malformed", () => decodeReport(body))
  const wanted = releaseReportData({ ...context, ephemeralKey })
  checks.require(
    equalBytes(wanted, reportData),
    "report-data",
    `enclave report: wanted report data that binds this nonce, key, CAS and policy (${toHex(wanted).slice(0, 16)}…), found ${toHex(reportData).slice(0, 16)}…`,
  )
  return enclave
}

/**
 * Genuine? Foreign JSON in, claims out; throws `refused` with `reason` for the check that failed. It says nothing about
 * whether anybody wants to accept such a platform or enclave: that is `validateEvidence`.
 * A `platform` that was verified before for the same evidence (by `platformDigest`) may be given.
 */
export function verifyEvidence(
  value: unknown,
  context: EvidenceContext,
  platform?: VerifiedPlatform,
): EvidenceClaims {
  const evidence: Evidence = parseEvidence(value)
  const ephemeralKey = bytes(evidence.ephemeralKey)
  if (evidence.platform.type === "sgx") {
    if (evidence.report === undefined)
      return verifyEnclaveQuote(evidence.platform.quote, ephemeralKey, context)
    throw refuse("evidence-malformed", "evidence: wanted no enclave report beside an SGX quote")
  }
  if (evidence.report === undefined)
    throw refuse(
      "report-missing",
      "evidence: wanted an enclave report, found platform evidence only",
    )
  const verified = platform ?? verifyPlatform(evidence.platform, context)
  const enclave = verifyReport(evidence.report, ephemeralKey, verified.nodeKey, context)
  return { platform: verified.claims, nodeKey: toHex(verified.nodeKey), enclave, ephemeralKey }
}
