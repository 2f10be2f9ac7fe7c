import assert from "node:assert/strict"
import { test } from "node:test"
import { snpProducts } from "../../src/attest/claims.ts"
import { validatePlatform } from "../../src/attest/index.ts"
import { productionRoots } from "../../src/attest/roots.ts"
import { verifySnpReport } from "../../src/attest/snp/verify.ts"
import type { Certificate } from "../../src/der/index.ts"
import { flipped } from "../support/flip.ts"
import { ecKey, rsaKey, testNow } from "../support/pki.ts"
import { refused, verdictOf } from "../support/refused.ts"
import { buildSnp, type SnpBuilt, type SnpWorld } from "../support/snp.ts"

/** SEV-SNP reports under a certification authority of our own: each wrong in one thing, refused for that thing. */

function verdict(world: SnpWorld, change: Partial<SnpBuilt> = {}): string {
  const built = { ...buildSnp(world), ...change }
  return verdictOf(() => verifySnpReport(built.report, built))
}

test("every product, signed by VCEK or VLEK, with the chip's id in either form", () => {
  for (const product of snpProducts)
    for (const world of [
      { product },
      { product, hwid: "wrapped" },
      { product, signer: "vlek" },
      { product, crl: {} },
    ] as const)
      assert.equal(verdict(world), "accepted", JSON.stringify(world))
  assert.equal(verdict({ version: 2, cpuid: [0, 0, 0] }), "accepted")
})

const otherAsk = { name: "SEV-Milan", key: rsaKey() }

const cases: readonly (readonly [what: string, world: SnpWorld, reason: string])[] = [
  ["another product's ARK and ASK", { authorityOf: "Genoa" }, "chain-role"],
  [
    "another product's ARK under this one's name",
    { ask: { issuer: { name: "ARK-Milan", key: otherAsk.key } } },
    "chain-signature",
  ],
  ["an ASK that is no CA", { ask: { ca: false } }, "chain-not-ca"],
  ["an ASK without basic constraints", { ask: { ca: undefined } }, "chain-not-ca"],
  ["an ARK that is no CA", { ark: { ca: false } }, "chain-not-ca"],
  ["a VLEK where a VCEK is wanted", { vek: { subject: "SEV-VLEK" } }, "chain-role"],
  [
    "a VCEK by an unknown name",
    { vek: { issuer: { ...otherAsk, name: "SEV-Nobody" } } },
    "chain-name",
  ],
  ["a VCEK by another key", { vek: { issuer: otherAsk } }, "chain-signature"],
  ["an expired VCEK", { vek: { notAfter: testNow - 1 } }, "chain-expired"],
  ["an expired ASK", { ask: { notAfter: testNow - 1 } }, "chain-expired"],
  ["an expired ARK", { ark: { notAfter: testNow - 1 } }, "chain-expired"],
  ["a VCEK of tomorrow", { vek: { notBefore: testNow + 1 } }, "chain-not-yet-valid"],
  ["a revoked ASK", { ask: { serial: 9 }, crl: { revoked: [9] } }, "revoked"],
  ["an expired CRL", { crl: { nextUpdate: testNow - 1 } }, "crl-expired"],
  ["another CA's CRL", { crl: { issuer: { ...otherAsk, name: "ARK-Genoa" } } }, "crl-issuer"],
  [
    "a CRL by another key",
    { crl: { issuer: { ...otherAsk, name: "ARK-Milan" } } },
    "crl-signature",
  ],
  ["a report by another key", { reportKey: ecKey("P-384") }, "report-signature"],
  ["another TCB", { reportTcb: [2] }, "report-tcb"],
  ["a later microcode", { reportTcb: [3, 0, 8, 116] }, "report-tcb"],
  ["another FMC", { product: "Turin", reportTcb: [3, 0, 8, 115, 2] }, "report-tcb"],
  ["another chip", { chipId: new Uint8Array(64).fill(1) }, "report-chip-id"],
  [
    "another chip of Turin",
    { product: "Turin", chipId: new Uint8Array(8).fill(1) },
    "report-chip-id",
  ],
  ["a VCEK of no chip", { hwid: "none" }, "report-chip-id"],
  ["a CPU of another product", { cpuid: [0x19, 0x11, 0] }, "report-product"],
  ["a chip id of another size", { chipId: new Uint8Array(8) }, "vek-hwid"],
  ["a report of version 1", { version: 1 }, "report-malformed"],
  ["a report of version 6", { version: 6 }, "report-malformed"],
]

for (const [what, world, reason] of cases)
  test(`${what}: ${reason}`, () => assert.equal(verdict(world), reason))

test("a root that is not pinned; no VEK at all", () => {
  assert.equal(verdict({}, { roots: productionRoots }), "root-not-pinned")
  const { collateral } = buildSnp()
  assert.equal(verdict({}, { collateral: { ...collateral, certificates: [] } }), "vek-missing")
})

test("what comes with a report is its chain and nothing else", () => {
  const built = buildSnp()
  const [vek, authority] = built.collateral.certificates
  const [stranger] = buildSnp({ chipId: new Uint8Array(64).fill(7) }).collateral.certificates
  assert.ok(vek !== undefined && authority !== undefined && stranger !== undefined)
  const says = (shown: readonly Certificate[]) =>
    verdictOf(() => verifySnpReport(built.report, { ...built, shown }))
  assert.equal(says([]), "accepted")
  assert.equal(says([vek, authority]), "accepted")
  assert.equal(says([vek, vek]), "chain-superfluous")
  assert.equal(says([vek, stranger]), "chain-superfluous")
})

test("every single-byte change of a report is refused", () => {
  for (const world of [{}, { signer: "vlek" }] as const) {
    const built = buildSnp(world)
    for (let at = 0; at < built.report.length; at += at > 0x2a0 + 144 ? 29 : 2) {
      const report = flipped(built.report, at)
      const said = verdictOf(() => verifySnpReport(report, built))
      assert.notEqual(said, "accepted", `byte ${at}`)
    }
  }
})

const accepted = {
  type: "sev-snp",
  measurements: ["66".repeat(48)],
  allowSmt: true,
  requireRevocation: false,
} as const

const fields: readonly (readonly [
  field: string,
  world: SnpWorld,
  policy: object,
  reason: string,
])[] = [
  ["measurement", {}, { measurements: ["00".repeat(48)] }, "policy-platform-measurements"],
  ["nothing accepted", {}, { measurements: [] }, "policy-platform-measurements"],
  ["product", {}, { products: ["Genoa"] }, "policy-platform-products"],
  ["host data", {}, { hostData: ["11".repeat(32)] }, "policy-platform-hostData"],
  ["id key", {}, { idKeyDigests: ["11".repeat(48)] }, "policy-platform-idKeyDigests"],
  ["author key", {}, { authorKeyDigests: ["11".repeat(48)] }, "policy-platform-authorKeyDigests"],
  ["chip", {}, { chipIds: ["11".repeat(64)] }, "policy-platform-chipIds"],
  ["guest SVN", {}, { minGuestSvn: 1 }, "policy-platform-minGuestSvn"],
  ["debug", { policy: 0xb0000n }, {}, "policy-platform-insecureDebug"],
  ["migration", { policy: 0x70000n }, {}, "policy-platform-allowMigrationAgent"],
  ["SMT", {}, { allowSmt: false }, "policy-platform-allowSmt"],
  ["bootloader", {}, { minTcb: { bootloader: 4 } }, "policy-platform-minTcb-bootloader"],
  ["TEE", {}, { minTcb: { tee: 1 } }, "policy-platform-minTcb-tee"],
  ["SNP", {}, { minTcb: { snp: 9 } }, "policy-platform-minTcb-snp"],
  ["microcode", {}, { minTcb: { microcode: 116 } }, "policy-platform-minTcb-microcode"],
  ["FMC", { product: "Turin" }, { minTcb: { fmc: 2 } }, "policy-platform-minTcb-fmc"],
  ["revocation", {}, { requireRevocation: true }, "policy-platform-requireRevocation"],
]

for (const [field, world, policy, reason] of fields)
  test(`validate: ${field}: ${reason}`, () => {
    const built = buildSnp(world)
    const claims = verifySnpReport(built.report, built)
    if (world.policy === undefined) validatePlatform(claims, accepted)
    assert.throws(() => validatePlatform(claims, { ...accepted, ...policy }), refused(reason))
  })
