import { toHex } from "../bytes/index.ts"
import type { Certificate } from "../der/index.ts"
import { CofferError } from "../errors.ts"
import type { Collateral } from "./collateral.ts"
import { parseEnclaveIdentity, parseTcbInfo } from "./dcap/tcb-info.ts"

/** One thing in a cache of collateral, and whether it is in its time. */
export interface CollateralItem {
  readonly kind: "tcb-info" | "qe-identity" | "crl" | "certificate" | "attestation-key"
  /** What it is for: FMSPC, enclave, issuer or name. */
  readonly subject: string
  /** Unix seconds; undefined where it does not end. */
  readonly from: number | undefined
  readonly until: number | undefined
  readonly state: "current" | "stale" | "early" | "unreadable"
}

/** What an operator's cache holds, unverified: signatures are checked when something is verified with it. */
export function listCollateral(collateral: Collateral, now: number): readonly CollateralItem[] {
  const dated = (
    kind: CollateralItem["kind"],
    subject: string,
    from: number | undefined,
    until: number | undefined,
  ): CollateralItem => {
    const early = from !== undefined && now < from
    const stale = until !== undefined && now > until
    return { kind, subject, from, until, state: early ? "early" : stale ? "stale" : "current" }
  }
  const document = (kind: "tcb-info" | "qe-identity", text: string): CollateralItem => {
    try {
      if (kind === "tcb-info") {
        const { tee, fmspc, issueDate, nextUpdate, evaluationNumber } = parseTcbInfo(text)
        const subject = `${tee.toUpperCase()} ${fmspc}, evaluation ${evaluationNumber}`
        return dated(kind, subject, issueDate, nextUpdate)
      }
      const { id, issueDate, nextUpdate, evaluationNumber } = parseEnclaveIdentity(text)
      return dated(kind, `${id}, evaluation ${evaluationNumber}`, issueDate, nextUpdate)
    } catch (error) {
      if (!(error instanceof CofferError)) throw error
      const subject = error.message
      return { kind, subject, from: undefined, until: undefined, state: "unreadable" }
    }
  }
  return [
    ...collateral.tcbInfos.map(({ text }) => document("tcb-info", text)),
    ...collateral.identities.map(({ text }) => document("qe-identity", text)),
    ...collateral.crls.map((crl) =>
      dated("crl", crl.issuer.commonName ?? crl.issuer.text, crl.thisUpdate, crl.nextUpdate),
    ),
    ...allCertificates(collateral).map((item) =>
      dated(
        "certificate",
        item.subject.commonName ?? item.subject.text,
        item.notBefore,
        item.notAfter,
      ),
    ),
    ...collateral.attestationKeys.map(({ kind }) =>
      dated(
        "attestation-key",
        kind === "tpmt" ? "with its public area" : "bare",
        undefined,
        undefined,
      ),
    ),
  ]
}

// Also those that came with a document, each once.
function allCertificates(collateral: Collateral): readonly Certificate[] {
  const documents = [...collateral.tcbInfos, ...collateral.identities]
  const all = [...collateral.certificates, ...documents.flatMap(({ chain }) => chain)]
  return [...new Map(all.map((item) => [toHex(item.raw), item])).values()]
}

const wanted: Readonly<Record<"intel" | "amd", readonly (readonly [string, RegExp])[]>> = {
  intel: [
    ["tcb-info", /./],
    ["qe-identity", /./],
    ["crl", /^Intel SGX Root CA$/],
    ["crl", /^Intel SGX PCK (?:Platform|Processor) CA$/],
    ["certificate", /^Intel SGX TCB Signing$/],
  ],
  amd: [
    ["crl", /^ARK-/],
    ["certificate", /^SEV-/],
  ],
}

/** What a vendor's evidence would want and the cache does not have in its time, in words. */
export function missingCollateral(
  items: readonly CollateralItem[],
  vendor: "intel" | "amd",
): readonly string[] {
  return wanted[vendor]
    .filter(
      ([kind, subject]) =>
        !items.some(
          (item) => item.kind === kind && subject.test(item.subject) && item.state === "current",
        ),
    )
    .map(([kind, subject]) =>
      subject.source === "." ? kind : `${kind} of ${subject.source.replaceAll(/[\^$?:]/g, "")}`,
    )
}
