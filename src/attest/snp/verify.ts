import { equalBytes, toHex } from "../../bytes/index.ts"
import type { Certificate } from "../../der/index.ts"
import { Checks, parsed, refuse } from "../checks.ts"
import { type SnpClaims, type SnpPolicyBits, type SnpTcb } from "../claims.ts"
import type { Collateral } from "../collateral.ts"
import type { Roots } from "../roots.ts"
import { type VerifiedPath, verifyPath } from "../x509/path.ts"
import { checkRevocation } from "../x509/revocation.ts"
import { publicKeyOf, verifyEcdsaRaw } from "../x509/signature.ts"
import { parseSnpReport, productOfCpuid, type SnpReport, tcbOf } from "./report.ts"
import { type VekExtensions, vekExtensionsOf } from "./vek.ts"

export interface SnpContext {
  /** With the VCEK or VLEK, its issuer, and perhaps the root and its CRL. */
  readonly collateral: Collateral
  /** Certificates that came with the report: each must be of its chain. */
  readonly shown?: readonly Certificate[]
  readonly roots: Roots
  /** Unix seconds. */
  readonly now: number
}

type Signer = SnpClaims["signer"]

const signerNames = { vcek: "SEV-VCEK", vlek: "SEV-VLEK" } as const satisfies Record<Signer, string>

/** Genuine? A SEV-SNP attestation report, signed by a chip's (VCEK) or a cloud's (VLEK) key under the product's root. */
export function verifySnpReport(bytes: Uint8Array, given: SnpContext): SnpClaims {
  const { shown = [] } = given
  const certificates = [...shown, ...given.collateral.certificates]
  const context = { ...given, collateral: { ...given.collateral, certificates } }
  const checks = new Checks()
  const report = parsed("report-malformed", () => parseSnpReport(bytes))
  const signer = signerOf(report)
  const vek = vekOf(report, signer, context)
  const extensions = parsed("vek-malformed", () => vekExtensionsOf(vek))
  const path = verifyVek(vek, signer, extensions, context, checks)
  requireNeeded(shown, vek, path)
  const revocationChecked = context.collateral.crls.length > 0
  const crls = revocationChecked
    ? checkRevocation(
        path,
        { name: signer, crls: context.collateral.crls, now: context.now, levels: [1] },
        checks,
      )
    : []
  if (!revocationChecked) checks.passed("revocation", "not checked: the collateral has no CRL")
  checks.require(
    signedBy(report, vek),
    "report-signature",
    `snp report: wanted a signature by the ${signer.toUpperCase()}, found one that does not verify`,
  )
  checkBinding(report, signer, extensions, checks)
  return claimsOf(report, signer, extensions, { revocationChecked, crls }, checks)
}

// No signature covers what comes along: a certificate that the chain does not need has no business there.
function requireNeeded(shown: readonly Certificate[], vek: Certificate, path: VerifiedPath): void {
  const chain = [vek, ...path.issuers.flatMap(({ certificate }) => certificate ?? [])]
  const root = path.issuers.at(-1)
  const needed = (item: Certificate): boolean =>
    chain.some((other) => equalBytes(other.raw, item.raw)) ||
    (root !== undefined &&
      equalBytes(item.publicKey, root.publicKey) &&
      equalBytes(item.subject.raw, root.name))
  const distinct = new Set(shown.map((item) => toHex(item.raw))).size === shown.length
  if (!distinct || !shown.every(needed))
    throw refuse(
      "chain-superfluous",
      "snp chain: wanted only the chain in the evidence, found more",
    )
}

function signerOf(report: SnpReport): Signer {
  const key = (report.keyInfo >> 2) & 7
  if (key === 0) return "vcek"
  if (key === 1) return "vlek"
  throw refuse("report-signing-key", `snp report: wanted key 0 (VCEK) or 1 (VLEK), found ${key}`)
}

function signedBy(report: SnpReport, vek: Certificate): boolean {
  const key = parsed("vek-malformed", () => publicKeyOf(vek.publicKey))
  if (key.asymmetricKeyDetails?.namedCurve !== "secp384r1") return false
  return verifyEcdsaRaw("sha384", key, report.signed, report.signature)
}

// A folder may hold the keys of many chips: the one that signed is taken, and judged; else the first, for the message.
function vekOf(report: SnpReport, signer: Signer, context: SnpContext): Certificate {
  const leaves = context.collateral.certificates.filter(
    (item) => item.basicConstraints?.ca !== true,
  )
  const named = leaves.filter((item) => item.subject.commonName === signerNames[signer])
  const vek =
    named.find((item) => signedBy(report, item)) ??
    named[0] ??
    leaves.find((item) => item.extensions.has("1.3.6.1.4.1.3704.1.2"))
  if (vek === undefined)
    throw refuse(
      "vek-missing",
      `snp report: wanted the ${signer.toUpperCase()}'s certificate in the collateral, found none`,
    )
  return vek
}

/** Of many certificates those that go with a report: the key that signed it, and its issuer. DER; none when the key is not there. */
export function snpCertificatesFor(
  report: Uint8Array,
  certificates: readonly Certificate[],
): readonly Uint8Array[] {
  const parsedReport = parseSnpReport(report)
  const leaves = certificates.filter((item) => item.basicConstraints?.ca !== true)
  const vek = leaves.find((item) => signedBy(parsedReport, item))
  if (vek === undefined) return []
  const issuer = certificates.find((item) => equalBytes(item.subject.raw, vek.issuer.raw))
  return issuer === undefined ? [vek.raw] : [vek.raw, issuer.raw]
}

function verifyVek(
  vek: Certificate,
  signer: Signer,
  { product }: VekExtensions,
  context: SnpContext,
  checks: Checks,
): VerifiedPath {
  const authority = signer === "vcek" ? `SEV-${product}` : `SEV-VLEK-${product}`
  const { roots, now } = context
  // The roots of other products stand in the pool too, but only this product's is trusted for it.
  const path = verifyPath(
    {
      name: signer,
      leaf: vek,
      pool: context.collateral.certificates,
      roles: [[signerNames[signer]], [authority], [`ARK-${product}`]],
      roots: roots.amd[product],
      now,
    },
    checks,
  )
  checks.passed("product", product)
  return path
}

function checkBinding(
  report: SnpReport,
  signer: Signer,
  { product, tcb, hwid }: VekExtensions,
  checks: Checks,
): void {
  if (report.cpuid !== undefined)
    checks.require(
      productOfCpuid(report.cpuid) === product,
      "report-product",
      `snp report: wanted a CPU of ${product}, found family, model, stepping ${report.cpuid.join(", ")}`,
    )
  const reported = tcbOf(report.reportedTcb, product)
  // The key is derived from the TCB: another TCB than the certificate's means another key.
  checks.require(
    tcbText(reported) === tcbText(tcb),
    "report-tcb",
    `snp report: wanted the TCB of the ${signer.toUpperCase()} (${tcbText(tcb)}), found ${tcbText(reported)}`,
  )
  if (signer === "vlek") return
  const chipId = toHex(report.chipId)
  checks.require(
    hwid !== undefined && chipId === hwid.padEnd(128, "0"),
    "report-chip-id",
    `snp report: wanted the chip of the VCEK (${hwid?.slice(0, 16) ?? "none"}…), found ${chipId.slice(0, 16)}…`,
  )
}

function tcbText(tcb: SnpTcb): string {
  const parts = [tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode]
  return (tcb.fmc === undefined ? parts : [tcb.fmc, ...parts]).join(".")
}

function policyBits(policy: bigint): SnpPolicyBits {
  const bit = (n: bigint) => ((policy >> n) & 1n) === 1n
  return {
    abiMinor: Number(policy & 0xffn),
    abiMajor: Number((policy >> 8n) & 0xffn),
    smt: bit(16n),
    migrationAgent: bit(18n),
    debug: bit(19n),
    singleSocket: bit(20n),
  }
}

function claimsOf(
  report: SnpReport,
  signer: Signer,
  { product }: VekExtensions,
  revocation: Pick<SnpClaims, "revocationChecked" | "crls">,
  checks: Checks,
): SnpClaims {
  return {
    type: "sev-snp",
    product,
    signer,
    measurement: toHex(report.measurement),
    hostData: toHex(report.hostData),
    idKeyDigest: toHex(report.idKeyDigest),
    authorKeyDigest: toHex(report.authorKeyDigest),
    reportId: toHex(report.reportId),
    chipId: toHex(report.chipId),
    familyId: toHex(report.familyId),
    imageId: toHex(report.imageId),
    guestSvn: report.guestSvn,
    vmpl: report.vmpl,
    policy: policyBits(report.policy),
    platformInfo: Number(report.platformInfo & 0xffffffffn),
    reportedTcb: tcbOf(report.reportedTcb, product),
    committedTcb: tcbOf(report.committedTcb, product),
    launchTcb: tcbOf(report.launchTcb, product),
    reportData: toHex(report.reportData),
    ...revocation,
    checks: checks.done,
  }
}
