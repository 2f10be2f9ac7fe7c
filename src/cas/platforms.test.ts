import assert from "node:assert/strict"
import { test } from "node:test"
import { claimsHex as hex, snp, tdx, tpm } from "../../test/support/platform-claims.ts"
import type { PlatformClaims } from "../attest/index.ts"
import { type PlatformPolicy, parsePolicy } from "../policy/index.ts"
import { judgePlatform } from "./platforms.ts"

function platform(text: string): PlatformPolicy {
  const policy = parsePolicy(
    `version: 1
name: p
services: { s: { measurements: ["${hex(32)}"], platforms: [x] } }
platforms: { x: ${text} }
access: { keys: { k: "${hex(32)}" }, update: { of: [k] } }
`,
    "p.yaml",
  )
  const found = policy.platforms["x"]
  assert.ok(found !== undefined)
  return found
}

type Case = readonly [field: string, good: string, bad: string]

/** `base` alone accepts; with `good` it still does; with `bad` it refuses and names the field. */
function table(
  claims: PlatformClaims,
  base: (more: string) => string,
  cases: readonly Case[],
): void {
  assert.equal(judgePlatform("x", platform(base("")), claims, 0), undefined)
  for (const [field, good, bad] of cases) {
    assert.equal(judgePlatform("x", platform(base(`, ${good}`)), claims, 0), undefined, good)
    const refusal = judgePlatform("x", platform(base(`, ${bad}`)), claims, 0)
    assert.equal(refusal?.field, `platforms.x.${field}`, bad)
    assert.ok(refusal.wanted !== "" && refusal.found !== "")
  }
}

test("tdx: each field accepts and refuses, in the language's own words", () => {
  const base = (more: string) =>
    `{ type: tdx, mrtd: ["${hex(48)}"]${more.includes("tolerate") ? "" : ", tolerate: [SWHardeningNeeded]"}${more} }`
  const list = (name: string, digit: string): Case => [
    name,
    `${name}: ["${hex(48, digit)}"]`,
    `${name}: ["${hex(48, "f")}"]`,
  ]
  table(tdx, base, [
    list("rtmr0", "0"),
    list("rtmr1", "1"),
    list("rtmr2", "2"),
    list("mrConfigId", "4"),
    list("mrOwner", "5"),
    list("mrOwnerConfig", "6"),
    ["tolerate", "tolerate: [SWHardeningNeeded, OutOfDate]", "tolerate: [OutOfDate]"],
    ["advisories", "advisories: [INTEL-SA-00615]", "advisories: [INTEL-SA-00001]"],
    ["minTcbEvaluation", "minTcbEvaluation: 17", "minTcbEvaluation: 18"],
  ])
  const tolerant = platform(base(""))
  assert.equal(
    judgePlatform("x", platform(base("").replace(hex(48), hex(48, "b"))), tdx, 0)?.field,
    "platforms.x.mrtd",
  )
  assert.equal(
    judgePlatform("x", tolerant, { ...tdx, debug: true }, 0)?.field,
    "platforms.x.insecureDebug",
  )
  assert.equal(
    judgePlatform("x", platform(base(", insecureDebug: true")), { ...tdx, debug: true }, 0),
    undefined,
  )
  assert.equal(
    judgePlatform("x", tolerant, { ...tdx, tcb: undefined }, 0)?.field,
    "platforms.x.tolerate",
  )
  assert.equal(judgePlatform("x", tolerant, snp, 0)?.field, "platforms.x.type")
  assert.equal(judgePlatform("x", tolerant, tdx, 86_401_000)?.field, "platforms.x.maxAge")
})

test("sev-snp: each field accepts and refuses", () => {
  const base = (more: string) =>
    `{ type: sev-snp, products: [milan], measurement: ["${hex(48)}"]${more.includes("maxVmpl") ? "" : ", maxVmpl: 1"}${more} }`
  table(snp, base, [
    ["hostData", `hostData: ["${hex(32, "1")}"]`, `hostData: ["${hex(32, "f")}"]`],
    ["idKeyDigest", `idKeyDigest: ["${hex(48, "2")}"]`, `idKeyDigest: ["${hex(48, "f")}"]`],
    ["chipId", `chipId: ["${hex(64, "4")}"]`, `chipId: ["${hex(64, "f")}"]`],
    ["minGuestSvn", "minGuestSvn: 3", "minGuestSvn: 4"],
    ["maxVmpl", "maxVmpl: 2", "maxVmpl: 0"],
    ["allowSmt", "allowSmt: true", "allowSmt: false"],
    ["minTcb.bootloader", "minTcb: { bootloader: 3 }", "minTcb: { bootloader: 4 }"],
    ["minTcb.tee", "minTcb: { tee: 1 }", "minTcb: { tee: 2 }"],
    ["minTcb.snp", "minTcb: { snp: 20 }", "minTcb: { snp: 21 }"],
    ["minTcb.microcode", "minTcb: { microcode: 200 }", "minTcb: { microcode: 201 }"],
    ["minTcb.fmc", "minTcb: { fmc: 0 }", "minTcb: { fmc: 1 }"],
  ])
  const good = platform(base(""))
  assert.equal(
    judgePlatform("x", platform(base("").replace("milan", "genoa")), snp, 0)?.field,
    "platforms.x.products",
  )
  assert.equal(
    judgePlatform("x", platform(base("").replace(hex(48), hex(48, "b"))), snp, 0)?.field,
    "platforms.x.measurement",
  )
  assert.equal(
    judgePlatform("x", good, { ...snp, policy: { ...snp.policy, debug: true } }, 0)?.field,
    "platforms.x.insecureDebug",
  )
  assert.equal(
    judgePlatform("x", good, { ...snp, policy: { ...snp.policy, migrationAgent: true } }, 0)?.field,
    "platforms.x.insecureMigration",
  )
})

test("azure: the hardware's fields under their own names, and each register", () => {
  const azure: PlatformClaims = {
    type: "azure",
    hardware: snp,
    tpm: { ...tpm, akName: "" },
    checks: [],
  }
  const hardware = (more: string) =>
    `{ type: sev-snp, products: [milan], measurement: ["${hex(48)}"]${more.includes("maxVmpl") ? "" : ", maxVmpl: 1"}${more} }`
  const of = (more: string, pcr = hex(32, "1")) =>
    platform(`{ type: azure, hardware: ${hardware(more)}, pcrs: { "11": ["${pcr}"] } }`)
  const judged = (wanted: PlatformPolicy, claims: PlatformClaims = azure) =>
    judgePlatform("x", wanted, claims, 0)?.field
  assert.equal(judged(of("")), undefined)
  const cases: readonly Case[] = [
    ["hostData", `hostData: ["${hex(32, "1")}"]`, `hostData: ["${hex(32, "f")}"]`],
    ["idKeyDigest", `idKeyDigest: ["${hex(48, "2")}"]`, `idKeyDigest: ["${hex(48, "f")}"]`],
    ["chipId", `chipId: ["${hex(64, "4")}"]`, `chipId: ["${hex(64, "f")}"]`],
    ["minGuestSvn", "minGuestSvn: 3", "minGuestSvn: 4"],
    ["maxVmpl", "maxVmpl: 2", "maxVmpl: 0"],
    ["allowSmt", "allowSmt: true", "allowSmt: false"],
    ["minTcb.snp", "minTcb: { snp: 20 }", "minTcb: { snp: 21 }"],
  ]
  for (const [field, good, bad] of cases) {
    assert.equal(judged(of(`, ${good}`)), undefined, good)
    assert.equal(judged(of(`, ${bad}`)), `platforms.x.hardware.${field}`, bad)
  }
  assert.equal(judged(of("", hex(32, "f"))), "platforms.x.pcrs.11")
  const debug = { ...snp, policy: { ...snp.policy, debug: true } }
  assert.equal(judged(of(""), { ...azure, hardware: debug }), "platforms.x.hardware.insecureDebug")
  assert.equal(judged(of(", insecureDebug: true"), { ...azure, hardware: debug }), undefined)
  const other = { ...snp, measurement: hex(48, "b") }
  assert.equal(judged(of(""), { ...azure, hardware: other }), "platforms.x.hardware.measurement")
  const genoa = { ...snp, product: "Genoa" } as const
  assert.equal(judged(of(""), { ...azure, hardware: genoa }), "platforms.x.hardware.products")
  assert.equal(judged(of(""), { ...azure, hardware: tdx }), "platforms.x.hardware.type")
  assert.equal(judged(of(""), snp), "platforms.x.type")
  assert.equal(judged(of(""), tpm), "platforms.x.type")
  assert.equal(judgePlatform("x", of(""), azure, 86_401_000)?.field, "platforms.x.maxAge")
})

function tpmPlatform(key: string, pcr: string): PlatformPolicy {
  return platform(`{ type: tpm2, attestationKeys: ["${key}"], pcrs: { "11": ["${pcr}"] } }`)
}

test("tpm2: an enrolled key and each register", () => {
  const name = `000b${hex(32)}`
  assert.equal(judgePlatform("x", tpmPlatform(name, hex(32, "1")), tpm, 0), undefined)
  assert.equal(
    judgePlatform("x", tpmPlatform(`000b${hex(32, "f")}`, hex(32, "1")), tpm, 0)?.field,
    "platforms.x.attestationKeys",
  )
  assert.equal(
    judgePlatform("x", tpmPlatform(name, hex(32, "f")), tpm, 0)?.field,
    "platforms.x.pcrs.11",
  )
})
