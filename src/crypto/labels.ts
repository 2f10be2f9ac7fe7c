import { utf8 } from "../bytes/index.ts"

/**
 * Every HKDF label, hash prefix and signing context of Coffer, and what it separates. None is used for two things:
 * a test shows that no two are equal and that none is a prefix of another.
 */
export const labels = {
  /** Binds a node agent's key into platform evidence (src/attest). */
  platformBinding: "coffer/v1/attest/platform-binding",
  /** The report data of a report that releases keys. */
  releaseReportData: "coffer/v1/attest/release-report-data",
  /** The node key's signature over a report that releases keys. */
  releaseReport: "coffer/v1/attest/release-report-signature",
  /** The node key's signature over a report that a service asked for: releases nothing. */
  serviceReport: "coffer/v1/attest/service-report-signature",
  /** The signature of `insecure-sim`'s software key over a platform binding. */
  insecureSim: "coffer/v1/attest/insecure-sim-signature",
  /** The hash of a policy in its normal form (src/policy). */
  policyHash: "coffer/v1/policy/document-hash",
  /** What access keys sign: an act on a policy or its volumes (src/cas). */
  policyAct: "coffer/v1/cas/policy-act",
  /** The CAS's challenge: an HMAC over time and random bytes. */
  casChallenge: "coffer/v1/cas/challenge",
  /** The token that a lease gives to its holder. */
  casLeaseToken: "coffer/v1/cas/lease-token",
  /** The key of the answer to an attestation. */
  casAnswerKey: "coffer/v1/cas/answer-key",
  /** The CAS's signature over the answer to an attestation. */
  casAnswer: "coffer/v1/cas/answer-signature",
  /** The CAS's signature over the head of its audit log. */
  casHead: "coffer/v1/cas/signed-head",
  /** The CAS's signature over the TLS key of a server. */
  casTlsKey: "coffer/v1/cas/tls-key",
  /** The chain of the audit log. */
  casAudit: "coffer/v1/cas/audit-chain",
  /** Keys under the master key: rows at rest, their multiset hash, tokens. */
  casRowKey: "coffer/v1/cas/key-of-rows",
  casStateKey: "coffer/v1/cas/key-of-state-sum",
  casRowPlace: "coffer/v1/cas/row-place",
  casTokenKey: "coffer/v1/cas/key-of-tokens",
  /** HKDF: the AEAD key of one segment (src/volume). */
  volumeSegmentKey: "coffer/v1/volume/segment-key",
  /** HKDF: what a segment's header shows of its key, so that a wrong key is told from damage. */
  volumeSegmentCheck: "coffer/v1/volume/segment-check",
  /** Hash prefix of a commit's tag. */
  volumeCommitTag: "coffer/v1/volume/commit-tag",
  /** HKDF: the key under which a rekeyed volume keeps its older keys. */
  volumeKeyWrap: "coffer/v1/volume/key-wrap",
  /** Hash prefix: the volume id of a store that is written once, from its name. */
  volumeStoreId: "coffer/v1/volume/store-id",
  /** HKDF: salts and nonces of a store that is written once. */
  volumeDerivedEntropy: "coffer/v1/volume/derived-entropy",
  /** HKDF: the key of a request to rekey a volume while it is mounted. */
  volumeRekeyRequest: "coffer/v1/volume/rekey-request",
} as const satisfies Record<string, string>

export type Label = keyof typeof labels

/** The label's bytes with a closing NUL. */
export function labelBytes(label: Label): Uint8Array {
  return utf8(`${labels[label]}\0`)
}
