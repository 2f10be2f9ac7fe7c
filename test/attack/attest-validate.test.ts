import assert from "node:assert/strict"
import { test } from "node:test"
import type { TdxClaims, Tpm2Claims } from "../../src/attest/claims.ts"
import { verifyDcapQuote } from "../../src/attest/dcap/verify.ts"
import { validatePlatform } from "../../src/attest/index.ts"
import type { PlatformPolicy } from "../../src/attest/policy.ts"
import { CofferError } from "../../src/errors.ts"
import { buildDcap } from "../support/dcap.ts"
import { refused } from "../support/refused.ts"

/** Each field of a platform policy: accepted, and refused with field, wanted and found. (SNP: attest-snp.test.ts) */

function tdxClaims(change: Partial<TdxClaims> = {}): TdxClaims {
  const built = buildDcap({ tee: "tdx", td15: true })
  const claims = verifyDcapQuote(built.quote, built)
  assert.equal(claims.type, "tdx")
  return { ...claims, ...change }
}

const mrTd = "99".repeat(48)
const tdx: PlatformPolicy = { type: "tdx", mrTd: [mrTd], tcbStatuses: ["UpToDate"] }
const other = "11".repeat(48)
const zero = "00".repeat(48)

const tdxFields: readonly (readonly [
  change: Partial<TdxClaims>,
  policy: object,
  reason: string,
])[] = [
  [{}, { mrTd: [other] }, "policy-platform-mrTd"],
  [{}, { rtmrs: { "2": [other] } }, "policy-platform-rtmrs-2"],
  [{}, { rtmrs: { "4": [other] } }, "policy-platform-rtmrs-4"],
  [{}, { mrSeam: [other] }, "policy-platform-mrSeam"],
  [{}, { mrConfigId: [other] }, "policy-platform-mrConfigId"],
  [{}, { mrOwner: [other] }, "policy-platform-mrOwner"],
  [{}, { mrOwnerConfig: [other] }, "policy-platform-mrOwnerConfig"],
  [{ mrServiceTd: other }, {}, "policy-platform-mrServiceTd"],
  [{ debug: true }, {}, "policy-platform-insecureDebug"],
  [{ attributes: "0000000000000000" }, {}, "policy-platform-attributes"],
  [{ tcb: undefined }, {}, "policy-platform-tcbStatuses"],
  [{}, { tcbStatuses: ["OutOfDate"] }, "policy-platform-tcbStatuses"],
  [{}, { minEvaluationNumber: 18 }, "policy-platform-minEvaluationNumber"],
  [{ revocationChecked: false }, {}, "policy-platform-requireRevocation"],
]

for (const [change, policy, reason] of tdxFields)
  test(`tdx ${JSON.stringify(policy)}: ${reason}`, () => {
    validatePlatform(tdxClaims(), tdx)
    assert.throws(() => validatePlatform(tdxClaims(change), { ...tdx, ...policy }), refused(reason))
  })

test("tdx: what a policy names is accepted", () => {
  const claims = tdxClaims({ revocationChecked: false, debug: true })
  validatePlatform(claims, {
    type: "tdx",
    mrTd: [other, mrTd],
    rtmrs: { "0": [zero], "3": [other, zero] },
    mrSeam: [zero],
    mrConfigId: [zero],
    mrOwner: [zero],
    mrOwnerConfig: [zero],
    tcbStatuses: ["OutOfDate", "UpToDate"],
    minEvaluationNumber: 17,
    requireRevocation: false,
    insecureDebug: true,
  })
})

test("an advisory that nobody tolerates", () => {
  const { tcb } = tdxClaims()
  assert.ok(tcb !== undefined)
  const claims = tdxClaims({ tcb: { ...tcb, advisories: ["INTEL-SA-1", "INTEL-SA-2"] } })
  validatePlatform(claims, { ...tdx, advisories: ["INTEL-SA-2", "INTEL-SA-1"] })
  assert.throws(
    () => validatePlatform(claims, { ...tdx, advisories: ["INTEL-SA-1"] }),
    refused("policy-platform-advisories"),
  )
})

const tpm: Tpm2Claims = {
  type: "tpm2",
  akName: `000b${"22".repeat(32)}`,
  akKey: "33".repeat(32),
  akRestricted: true,
  signatureHash: "sha256",
  selection: ["sha256:15"],
  pcrs: { "sha256:15": "44".repeat(32) },
  pcrDigest: "",
  extraData: "",
  clock: "0",
  resetCount: 0,
  restartCount: 0,
  firmwareVersion: "0000000000000005",
  checks: [],
}
const tpmPolicy: PlatformPolicy = {
  type: "tpm2",
  aks: [tpm.akName],
  pcrs: { "sha256:15": ["44".repeat(32)] },
  minFirmware: "05",
}

const tpmFields: readonly (readonly [
  change: Partial<Tpm2Claims>,
  policy: object,
  reason: string,
])[] = [
  [{}, { aks: [] }, "policy-platform-aks"],
  [{ akRestricted: false }, {}, "policy-platform-aks"],
  [{}, { pcrs: {} }, "policy-platform-pcrs"],
  [{}, { pcrs: { "sha1:15": ["44".repeat(20)] } }, "policy-platform-pcrs"],
  [{}, { pcrs: { "sha256:14": ["44".repeat(32)] } }, "policy-platform-pcrs-sha256-14"],
  [{ pcrs: {} }, {}, "policy-platform-pcrs-sha256-15"],
  [{ pcrs: { "sha256:15": "45".repeat(32) } }, {}, "policy-platform-pcrs-sha256-15"],
  [{}, { minFirmware: "06" }, "policy-platform-minFirmware"],
]

for (const [change, policy, reason] of tpmFields)
  test(`tpm2 ${JSON.stringify(change)} ${JSON.stringify(policy)}: ${reason}`, () => {
    validatePlatform(tpm, tpmPolicy)
    assert.throws(
      () => validatePlatform({ ...tpm, ...change }, { ...tpmPolicy, ...policy }),
      refused(reason),
    )
  })

test("a key without a name is never enrolled, not even by an empty name", () => {
  assert.throws(
    () => validatePlatform({ ...tpm, akName: "" }, { ...tpmPolicy, aks: [""] }),
    refused("policy-platform-aks"),
  )
})

test("claims of one platform never satisfy a policy for another", () => {
  const policies: readonly PlatformPolicy[] = [
    { type: "insecure-sim" },
    tpmPolicy,
    { type: "sgx", tcbStatuses: ["UpToDate"] },
    { type: "sev-snp", measurements: [] },
    { type: "azure", hardware: tdx, pcrs: {} },
  ]
  for (const policy of policies)
    assert.throws(
      () => validatePlatform(tdxClaims(), policy),
      (error) =>
        error instanceof CofferError &&
        error.facts["field"] === "platform.type" &&
        error.facts["wanted"] === policy.type &&
        error.facts["found"] === "tdx",
    )
})

test("sgx: debug, and the same TCB rules", () => {
  const policy: PlatformPolicy = { type: "sgx", tcbStatuses: ["UpToDate"] }
  const good = buildDcap()
  validatePlatform(verifyDcapQuote(good.quote, good), policy)
  const debug = buildDcap({ attributes: "0700000000000000e700000000000000" })
  const claims = verifyDcapQuote(debug.quote, debug)
  assert.throws(() => validatePlatform(claims, policy), refused("policy-platform-insecureDebug"))
  validatePlatform(claims, { ...policy, insecureDebug: true })
})

test("azure: hardware and PCRs, each by its own policy", () => {
  const claims = { type: "azure", hardware: tdxClaims(), tpm, checks: [] } as const
  const policy = { type: "azure", hardware: tdx, pcrs: tpmPolicy.pcrs } as const
  validatePlatform(claims, policy)
  assert.throws(
    () => validatePlatform(claims, { ...policy, hardware: { ...tdx, mrTd: [] } }),
    refused("policy-platform-hardware-mrTd"),
  )
  assert.throws(
    () => validatePlatform(claims, { ...policy, pcrs: {} }),
    refused("policy-platform-pcrs"),
  )
})
