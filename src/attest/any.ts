import { equalBytes, fromHex, toHex } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { isAzureEvidence } from "./azure/evidence.ts"
import { verifyAzureEvidence } from "./azure/verify.ts"
import { parsed, refuse } from "./checks.ts"
import type { PlatformClaims, SgxClaims, SnpClaims, TdxClaims, Tpm2Claims } from "./claims.ts"
import type { AttestationKey, Collateral } from "./collateral.ts"
import { verifyDcapQuote } from "./dcap/verify.ts"
import { parseEvidence, parsePlatformEvidence } from "./evidence/schema.ts"
import { verifyPlatform } from "./evidence/verify.ts"
import type { Roots } from "./roots.ts"
import { snpReportSize } from "./snp/report.ts"
import { verifySnpReport } from "./snp/verify.ts"
import { parsePcrFile } from "./tpm2/pcr-file.ts"
import { verifyTpmQuote } from "./tpm2/verify.ts"

export const evidenceTypes = ["tdx", "sev-snp", "tpm2", "sgx", "azure", "coffer"] as const
export type EvidenceType = (typeof evidenceTypes)[number]

/** A quote or report as a file, from wherever it comes; not bound to any CAS. */
export interface LooseEvidence {
  readonly bytes: Uint8Array
  /** Undefined: what it looks like. */
  readonly type: EvidenceType | undefined
  /** Of a TPM: the signature over the quote (TPMT_SIGNATURE), and tpm2-tools' file of PCR values. */
  readonly signature: Uint8Array | undefined
  readonly pcrs: Uint8Array | undefined
}

export interface LooseContext {
  readonly collateral: Collateral
  readonly roots: Roots
  readonly now: number
  /** What the report data or the qualifying data must be; report data may be padded with zeros. */
  readonly nonce: Uint8Array | undefined
}

export type LooseClaims = PlatformClaims

/** Genuine? Any kind of quote that we know. Pure. */
export function verifyAny(evidence: LooseEvidence, context: LooseContext): LooseClaims {
  const type = typeFor(evidence)
  switch (type) {
    case "tdx":
    case "sgx": {
      const claims = verifyDcapQuote(evidence.bytes, context)
      if (claims.type !== type)
        throw refuse("evidence-type", `quote: wanted one of ${type}, found one of ${claims.type}`)
      return withNonce(claims, context.nonce)
    }
    case "sev-snp":
      return withNonce(verifySnpReport(evidence.bytes, context), context.nonce)
    case "azure":
      return verifyAzureEvidence(textOf(evidence.bytes), context)
    case "tpm2":
      return verifyLooseTpm(evidence, context)
    case "coffer":
      return verifyOwn(textOf(evidence.bytes), context)
  }
}

// Azure's JSON has the report of the machine in it: who asks for that one means the whole.
function typeFor({ bytes, type }: LooseEvidence): EvidenceType {
  if (type === undefined) return typeOf(bytes)
  const json = isJson(bytes)
  return json && (type === "sev-snp" || type === "tdx") ? typeOf(bytes) : type
}

function isJson(bytes: Uint8Array): boolean {
  return /^\s*\{/.test(textOf(bytes.subarray(0, 16)))
}

// Our own evidence, or the platform's part of it. `nonce` is the platform's: what the exchange's would be, only a CAS knows.
function verifyOwn(text: string, context: LooseContext): PlatformClaims {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw refuse("evidence-malformed", "evidence: wanted JSON, found something else")
  }
  const whole = typeof value === "object" && value !== null && "platform" in value
  const platform = whole ? parseEvidence(value).platform : parsePlatformEvidence(value)
  if (platform.type === "sgx")
    return verifyDcapQuote(fromHex(platform.quote) ?? new Uint8Array(), context)
  const { nonce } = context
  const acceptsPlatformNonce = (found: Uint8Array) =>
    nonce === undefined || equalBytes(found, nonce)
  return verifyPlatform(platform, { ...context, acceptsPlatformNonce }).claims
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1")
}

function typeOf(bytes: Uint8Array): EvidenceType {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const head = bytes.length >= 8 ? view.getUint32(0, true) : 0
  if (isJson(bytes)) return isAzureEvidence(textOf(bytes)) ? "azure" : "coffer"
  if (head === 0x474354ff) return "tpm2"
  if (bytes.length === snpReportSize && head >= 2 && head <= 5) return "sev-snp"
  const tee = bytes.length >= 8 ? view.getUint32(4, true) : 0
  if ([3, 4, 5].includes(head & 0xffff)) return tee === 0x81 ? "tdx" : "sgx"
  throw refuse(
    "evidence-malformed",
    "evidence: wanted a TDX or SGX quote, an SNP report, a TPM quote or Azure's JSON, found something else",
  )
}

// The reader knows what was asked for; what stands behind it in the 64 bytes must be zero.
function withNonce<T extends TdxClaims | SgxClaims | SnpClaims>(
  claims: T,
  nonce: Uint8Array | undefined,
): T {
  if (nonce === undefined) return claims
  if (claims.reportData !== toHex(nonce).padEnd(128, "0"))
    throw refuse(
      "nonce",
      `quote: wanted the report data ${toHex(nonce)}, found ${claims.reportData}`,
    )
  return { ...claims, checks: [...claims.checks, { name: "nonce" }] }
}

function verifyLooseTpm(evidence: LooseEvidence, context: LooseContext): Tpm2Claims {
  const { bytes: message, signature, pcrs } = evidence
  const keys = context.collateral.attestationKeys
  if (signature === undefined)
    throw new CofferError("missing", "tpm quote: wanted its signature in a file beside it", {
      reason: "tpm-signature-missing",
      hint: "name it as the quote, with .sig, or give --signature FILE",
    })
  if (keys.length === 0)
    throw new CofferError("missing", "tpm quote: wanted an attestation key that you trust", {
      reason: "ak-missing",
      hint: "give it with --collateral: PEM, DER, or TPMT_PUBLIC; a key that comes with the quote proves nothing",
    })
  const values =
    pcrs === undefined ? undefined : parsed("pcr-file-malformed", () => parsePcrFile(pcrs))
  const verify = (ak: AttestationKey) =>
    verifyTpmQuote({ message, signature, ak, pcrs: values, nonce: context.nonce })
  const last = keys.length - 1
  // Of several enrolled keys the one that signed is taken; when none did, the last one's refusal stands.
  for (const ak of keys.slice(0, last)) {
    try {
      return verify(ak)
    } catch (error) {
      const other = error instanceof CofferError && error.reason === "tpm-signature"
      if (!other) throw error
    }
  }
  return verify(keys[last] ?? { kind: "spki", bytes: new Uint8Array() })
}

/** Hex text as bytes, when that is what a file holds. */
export function unhexed(bytes: Uint8Array): Uint8Array {
  const text = textOf(bytes).trim().replace(/^0x/, "")
  const plain = text.length > 0 && /^[0-9a-fA-F]+$/.test(text) ? fromHex(text) : undefined
  return plain ?? bytes
}
