import { type KeyObject, sign } from "node:crypto"
import type { SnpProduct } from "../../src/attest/claims.ts"
import { type Collateral, noCollateral } from "../../src/attest/collateral.ts"
import type { Roots } from "../../src/attest/roots.ts"
import { parseCertificate, parseCrl } from "../../src/der/index.ts"
import { ia5String, integer, octets } from "./der-writer.ts"
import {
  type CertificateRequest,
  type CrlRequest,
  ecKey,
  makeCertificate,
  makeCrl,
  makeRoot,
  type Party,
  rsaKey,
  spkiOf,
  testNow,
} from "./pki.ts"

/** A whole AMD for tests: a root for each product, ASK and ASVK, VCEK or VLEK, and a report. Every part can be made wrong. */

export interface SnpWorld {
  readonly product?: SnpProduct
  /** Whose root and authority sign, when it is not the product's own. */
  readonly authorityOf?: SnpProduct
  readonly signer?: "vcek" | "vlek"
  readonly vek?: Partial<CertificateRequest>
  readonly ask?: Partial<CertificateRequest>
  readonly ark?: Partial<CertificateRequest>
  readonly crl?: Partial<CrlRequest>
  readonly hwid?: "raw" | "wrapped" | "none"
  readonly vekTcb?: readonly number[]
  readonly reportTcb?: readonly number[]
  readonly chipId?: Uint8Array
  readonly policy?: bigint
  readonly cpuid?: readonly [number, number, number]
  readonly version?: number
  readonly reportKey?: KeyObject
  readonly reportData?: Uint8Array
}

export interface SnpBuilt {
  readonly report: Uint8Array
  readonly collateral: Collateral
  readonly roots: Roots
  readonly now: number
}

const arks: Readonly<Record<SnpProduct, Party>> = {
  Milan: { name: "ARK-Milan", key: rsaKey() },
  Genoa: { name: "ARK-Genoa", key: rsaKey() },
  Turin: { name: "ARK-Turin", key: rsaKey() },
}
const authorityKey = rsaKey()
export const vekKey = ecKey("P-384")

export const snpRoots: Roots = {
  intelSgx: [],
  amd: {
    Milan: [spkiOf(arks.Milan.key)],
    Genoa: [spkiOf(arks.Genoa.key)],
    Turin: [spkiOf(arks.Turin.key)],
  },
}

const arc = "1.3.6.1.4.1.3704.1"
const cpuids = { Milan: [0x19, 1, 1], Genoa: [0x19, 0x11, 1], Turin: [0x1a, 2, 1] } as const

export function buildSnp(world: SnpWorld = {}): SnpBuilt {
  const { product = "Milan", signer = "vcek" } = world
  const ark = arks[world.authorityOf ?? product]
  const askName = `SEV-${signer === "vlek" ? "VLEK-" : ""}${world.authorityOf ?? product}`
  const ask: Party = { name: askName, key: authorityKey }
  const certificates = [
    makeCertificate({
      subject: signer === "vcek" ? "SEV-VCEK" : "SEV-VLEK",
      publicKey: vekKey,
      issuer: ask,
      extensions: vekExtensions(world, product),
      ...world.vek,
    }),
    makeCertificate({
      subject: askName,
      publicKey: authorityKey,
      issuer: ark,
      ca: true,
      pathLength: 0,
      keyUsage: ["certSign"],
      ...world.ask,
    }),
    makeRoot(ark, world.ark),
  ].map((bytes) => parseCertificate(bytes))
  const crls = world.crl === undefined ? [] : [parseCrl(makeCrl({ issuer: ark, ...world.crl }))]
  return {
    report: buildReport(world, product),
    collateral: { ...noCollateral, certificates, crls },
    roots: snpRoots,
    now: testNow,
  }
}

function vekExtensions(world: SnpWorld, product: SnpProduct) {
  const [bootloader = 3, tee = 0, snp = 8, microcode = 115, fmc = 1] = world.vekTcb ?? []
  const chip = chipOf(world, product)
  const { hwid = world.signer === "vlek" ? "none" : "raw" } = world
  return [
    { oid: `${arc}.1`, value: integer(1) },
    { oid: `${arc}.2`, value: ia5String(product === "Milan" ? "Milan-B0" : product) },
    { oid: `${arc}.3.1`, value: integer(bootloader) },
    { oid: `${arc}.3.2`, value: integer(tee) },
    { oid: `${arc}.3.3`, value: integer(snp) },
    { oid: `${arc}.3.8`, value: integer(microcode) },
    ...(product === "Turin" ? [{ oid: `${arc}.3.9`, value: integer(fmc) }] : []),
    ...(hwid === "none" ? [] : [{ oid: `${arc}.4`, value: hwid === "raw" ? chip : octets(chip) }]),
  ]
}

function chipOf(world: SnpWorld, product: SnpProduct): Uint8Array {
  return world.chipId ?? new Uint8Array(product === "Turin" ? 8 : 64).fill(0x42)
}

function buildReport(world: SnpWorld, product: SnpProduct): Uint8Array {
  const report = Buffer.alloc(1184)
  report.writeUInt32LE(world.version ?? 3, 0)
  report.writeBigUInt64LE(world.policy ?? 0x30000n, 8)
  report.writeUInt32LE(1, 0x34)
  report.writeUInt32LE(world.signer === "vlek" ? 4 : 0, 0x48)
  report.set(world.reportData ?? new Uint8Array(64).fill(5), 0x50)
  report.fill(0x66, 0x90, 0xc0)
  for (const at of [0x38, 0x180, 0x1e0, 0x1f0]) report.set(tcbBytes(world, product), at)
  report.set(world.cpuid ?? cpuids[product], 0x188)
  report.set(new Uint8Array(product === "Turin" ? 8 : 64).fill(0x42), 0x1a0)
  const signature = sign("sha384", report.subarray(0, 0x2a0), {
    key: world.reportKey ?? vekKey,
    dsaEncoding: "ieee-p1363",
  })
  report.set(signature.subarray(0, 48).toReversed(), 0x2a0)
  report.set(signature.subarray(48).toReversed(), 0x2a0 + 72)
  return report
}

function tcbBytes(world: SnpWorld, product: SnpProduct): readonly number[] {
  const [bootloader = 3, tee = 0, snp = 8, microcode = 115, fmc = 1] = world.reportTcb ?? []
  return product === "Turin"
    ? [fmc, bootloader, tee, snp, 0, 0, 0, microcode]
    : [bootloader, tee, 0, 0, 0, 0, snp, microcode]
}
