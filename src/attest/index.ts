/**
 * Attestation: who speaks, on which machine.
 *
 * Spec: spec/evidence.md. Two calls, never one: `verify…` (genuine? signatures, chains, revocation, binding, with time,
 * collateral and roots given) returns claims; `validate…` (acceptable to this policy?) takes claims and a policy.
 * Promises: verification does no I/O and reads no clock; every refusal is a `CofferError` of code `refused` whose
 * `reason` names the check; nothing that a check did not cover stands in the claims.
 */

export {
  type EvidenceType,
  evidenceTypes,
  type LooseClaims,
  unhexed,
  verifyAny,
} from "./any.ts"
export type {
  AzureClaims,
  Check,
  CrlClaims,
  EnclaveClaims,
  EvidenceClaims,
  PlatformClaims,
  PlatformType,
  SgxClaims,
  SimClaims,
  SnpClaims,
  SnpProduct,
  SnpTcb,
  TcbStatus,
  TdxClaims,
  Tpm2Claims,
} from "./claims.ts"
export { snpProducts, tcbStatuses } from "./claims.ts"
export { type Collateral, noCollateral } from "./collateral.ts"
export { type CollateralItem, listCollateral, missingCollateral } from "./collateral-status.ts"
export { platformBinding, type ReleaseBinding, releaseReportData } from "./evidence/bindings.ts"
export { ed25519PublicKey, rawPublicKey, verifyEd25519 } from "./evidence/ed25519.ts"
export { makeEvidence, platformDigest } from "./evidence/make.ts"
export { type EnclaveReport, type ReportKind, signReport } from "./evidence/report.ts"
export {
  type Evidence,
  type NodeEvidence,
  type PlatformEvidence,
  parseEvidence,
} from "./evidence/schema.ts"
export { simEvidence } from "./evidence/sim.ts"
export { validateEvidence, validatePlatform } from "./evidence/validate.ts"
export {
  type EvidenceContext,
  type VerifiedPlatform,
  verifyEvidence,
  verifyPlatform,
} from "./evidence/verify.ts"
export { loadCollateral } from "./load.ts"
export {
  azurePlatform,
  defaultPcrs,
  enclavePcr,
  type Platform,
  simPlatform,
  snpPlatform,
  tdxPlatform,
  tpmPlatform,
} from "./node/platform.ts"
export { type TsmFiles, tsmFiles } from "./node/tsm.ts"
export type {
  AzurePolicy,
  PlatformPolicy,
  SgxPolicy,
  SimPolicy,
  SnpPolicy,
  TdxPolicy,
  Tpm2Policy,
} from "./policy.ts"
export { productionRoots, type Roots, rootsFrom } from "./roots.ts"
export { TpmCounter } from "./tpm2/counter.ts"
export type { Credential } from "./tpm2/credential.ts"
export {
  activateCredential,
  challengeEndorsement,
  readEndorsementCertificate,
} from "./tpm2/endorsement.ts"
export { attestationKeyName } from "./tpm2/public-area.ts"
export { sealToTpm, unsealFromTpm } from "./tpm2/seal.ts"
export { selectionsOf, Tpm } from "./tpm2/tpm.ts"
