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
} as const satisfies Record<string, string>

export type Label = keyof typeof labels

/** The label's bytes with a closing NUL. */
export function labelBytes(label: Label): Uint8Array {
  return utf8(`${labels[label]}\0`)
}
