/**
 * Policies: the CAS's documents. What each says, whether it is well-formed, what its hash is, and whether it lets a
 * service have something.
 *
 * Spec: spec/policy.md. Promises: pure, no I/O, no clock; a document has one normal form and one hash; an error names
 * file, line, column and field; a decision names the field, what was wanted and what was found.
 */

export { policyWarnings } from "./cross-checks.ts"
export {
  type AccessRequest,
  type Decision,
  type DecisionContext,
  decide,
  type EnclaveClaims,
  type Refusal,
  refusalText,
} from "./decide.ts"
export { type Change, diffPolicies } from "./diff.ts"
export { parsePolicy, policyFromValue } from "./document.ts"
export { nameSchema } from "./fields.ts"
export { canonicalPolicy, policyHash } from "./hash.ts"
export {
  type PlatformPolicy,
  type PlatformType,
  type SgxPlatform,
  type SimPlatform,
  type SnpPlatform,
  type TcbStatus,
  type TdxPlatform,
  type TpmPlatform,
} from "./platform.ts"
export type {
  Freshness,
  Policy,
  Quorum,
  SecretPolicy,
  Service,
  VolumeAccess,
  VolumePolicy,
} from "./schema.ts"
export { policySkeleton, type SkeletonFacts } from "./skeleton.ts"
export { type PartOf, substituteBytes, substituteText } from "./substitute.ts"
