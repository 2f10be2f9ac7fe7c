/**
 * The CAS: configuration and attestation service. Releases keys, secrets and the freshness of volumes to services whose
 * measurement and platform a policy accepts.
 *
 * Spec: spec/cas-protocol.md, spec/audit-log.md. Promises: nothing leaves but to an enclave that the policy accepts,
 * encrypted to its attested key; a tag moves by compare-and-swap under the newest epoch only; what was acknowledged is
 * durable; everything secret is encrypted at rest; a database put back to an older copy is noticed.
 */
export { actFileText, cosign, mergeActs, parseActFile, unsignedAct } from "./act-file.ts"
export { type Act, type ActBody, type SignedAct, signAct } from "./acts.ts"
export { openCasAnchor } from "./anchor.ts"
export type { AnchorTarget } from "./anchor-protocol.ts"
export { type AuditEntry, type AuditPoint, followAudit, genesisHash } from "./audit.ts"
export { readBackup, writeBackup } from "./backup.ts"
export { Cas } from "./cas.ts"
export { type Answer, type Asked, CasClient } from "./client.ts"
export type { VolumeGrant } from "./configuration.ts"
export { type EmbeddedCas, openEmbeddedCas } from "./embedded.ts"
export type { SignedHead } from "./head.ts"
export type { HeadCounter } from "./head-counter.ts"
export { HeadMemory } from "./head-memory.ts"
export { masterKeyFile, writeNewFile } from "./master-key.ts"
export { openBackend, openCas } from "./open.ts"
export type { ActResult, VolumeView } from "./perform.ts"
export { remoteTransport } from "./remote.ts"
export type { PositionReply } from "./requests.ts"
export { type CasServer, type LogEvent, serveCas } from "./server.ts"
