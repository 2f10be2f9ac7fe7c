import assert from "node:assert/strict"
import { generateKeyPairSync } from "node:crypto"
import { test } from "node:test"
import { buildDcap } from "../../../test/support/dcap.ts"
import { structSize, tableFaults, toHex } from "../../bytes/index.ts"
import { randomBytes } from "../../crypto/index.ts"
import { CofferError } from "../../errors.ts"
import type { EnclaveClaims } from "../claims.ts"
import { platformBinding, releaseReportData } from "./bindings.ts"
import { rawPublicKey } from "./ed25519.ts"
import { makeEvidence, platformDigest } from "./make.ts"
import { decodeReport, encodeReport, reportSize, reportTable, signReport } from "./report.ts"
import { simEvidence } from "./sim.ts"
import { validateEvidence } from "./validate.ts"
import { type EvidenceContext, verifyEvidence } from "./verify.ts"

const enclave: EnclaveClaims = {
  mrEnclave: "11".repeat(32),
  mrSigner: "22".repeat(32),
  productId: 3,
  svn: 4,
  debug: false,
  engineTrusted: true,
  runtimeVersion: [0, 1, 0],
}

function scene() {
  const node = generateKeyPairSync("ed25519")
  const sim = generateKeyPairSync("ed25519")
  const nodeKey = rawPublicKey(node.publicKey)
  const platformNonce = randomBytes(32)
  const binding = {
    nonce: randomBytes(32),
    ephemeralKey: randomBytes(32),
    casKey: randomBytes(32),
    policyName: "shop",
  }
  const context: EvidenceContext = {
    now: 1_800_000_000,
    ...binding,
    acceptsPlatformNonce: (nonce) => toHex(nonce) === toHex(platformNonce),
  }
  const platform = simEvidence(sim.privateKey, platformNonce, nodeKey)
  return { node, sim, platform, binding, context, platformNonce, nodeKey }
}

function refused(reason: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof CofferError, String(error))
    assert.equal(`${error.code} ${error.reason}`, `refused ${reason}`, error.message)
    return true
  }
}

test("the report's fields touch, and a report reads back as written", () => {
  assert.deepEqual(tableFaults(reportTable, reportSize), [])
  assert.equal(structSize(reportTable), 144)
  const report = { enclave, reportData: new Uint8Array(64).fill(7) }
  const bytes = encodeReport(report)
  assert.deepEqual(decodeReport(bytes), report)
  for (let size = 0; size < bytes.length; size += 1)
    assert.throws(() => decodeReport(bytes.subarray(0, size)), CofferError)
  assert.throws(() => decodeReport(new Uint8Array([...bytes, 0])), CofferError)
})

test("insecure-sim evidence verifies, and validates only where a policy names it", () => {
  const { node, platform, binding, context } = scene()
  const evidence: unknown = JSON.parse(
    JSON.stringify(makeEvidence(platform, enclave, node.privateKey, binding)),
  )
  const claims = verifyEvidence(evidence, context)
  assert.deepEqual(claims.enclave, enclave)
  assert.deepEqual(claims.ephemeralKey, binding.ephemeralKey)
  validateEvidence(claims, [{ type: "insecure-sim" }])
  validateEvidence(claims, [
    { type: "insecure-sim", keys: ["00".repeat(32)] },
    { type: "insecure-sim", keys: [platform.key] },
  ])
  assert.throws(() => validateEvidence(claims, []), refused("policy-platforms"))
  assert.throws(
    () => validateEvidence(claims, [{ type: "insecure-sim", keys: ["00".repeat(32)] }]),
    refused("policy-platform-keys"),
  )
})

test("evidence for another nonce, CAS, policy or key is refused", () => {
  const { node, platform, binding, context } = scene()
  const evidence = makeEvidence(platform, enclave, node.privateKey, binding)
  const others: readonly Partial<EvidenceContext>[] = [
    { nonce: randomBytes(32) },
    { casKey: randomBytes(32) },
    { policyName: "shop2" },
  ]
  for (const other of others)
    assert.throws(() => verifyEvidence(evidence, { ...context, ...other }), refused("report-data"))
  assert.throws(
    () => verifyEvidence({ ...evidence, ephemeralKey: "00".repeat(32) }, context),
    refused("report-data"),
  )
  assert.throws(
    () => verifyEvidence(evidence, { ...context, acceptsPlatformNonce: () => false }),
    refused("platform-nonce"),
  )
})

test("a report that a service asked for, or that another node signed, releases nothing", () => {
  const { node, platform, binding, context } = scene()
  const evidence = makeEvidence(platform, enclave, node.privateKey, binding)
  const reportData = releaseReportData(binding)
  const asked = signReport("service", { enclave, reportData }, node.privateKey)
  const report = { body: toHex(asked.body), signature: toHex(asked.signature) }
  assert.throws(() => verifyEvidence({ ...evidence, report }, context), refused("report-signature"))
  const stranger = generateKeyPairSync("ed25519").privateKey
  const own = makeEvidence(platform, enclave, stranger, binding)
  assert.throws(() => verifyEvidence(own, context), refused("report-signature"))
  const { report: _, ...without } = evidence
  assert.throws(() => verifyEvidence(without, context), refused("report-missing"))
})

test("every hex digit of the evidence counts", () => {
  const { node, platform, binding, context } = scene()
  const text = JSON.stringify(makeEvidence(platform, enclave, node.privateKey, binding))
  for (let at = 0; at < text.length; at += 1) {
    if (!/[0-9a-f]/.test(text[at] ?? "")) continue
    const changed = `${text.slice(0, at)}${text[at] === "0" ? "1" : "0"}${text.slice(at + 1)}`
    let value: unknown
    try {
      value = JSON.parse(changed)
    } catch {
      continue
    }
    assert.throws(
      () => verifyEvidence(value, context),
      (error) => error instanceof CofferError && error.code === "refused",
      changed,
    )
  }
})

test("an SGX enclave speaks for itself: its quote binds the exchange", () => {
  const { binding, context, platform } = scene()
  const built = buildDcap({ reportData: releaseReportData(binding) })
  const { roots, collateral, now } = built
  const evidence = {
    version: 1,
    platform: { type: "sgx", quote: toHex(built.quote) },
    ephemeralKey: toHex(binding.ephemeralKey),
  }
  const all = { ...context, roots, collateral, now }
  const claims = verifyEvidence(evidence, all)
  assert.equal(claims.enclave.mrEnclave, "77".repeat(32))
  assert.equal(claims.nodeKey, "")
  validateEvidence(claims, [{ type: "sgx", tcbStatuses: ["UpToDate"] }])
  assert.throws(
    () => verifyEvidence(evidence, { ...all, policyName: "other" }),
    refused("report-data"),
  )
  assert.throws(
    () =>
      verifyEvidence(
        { ...evidence, report: { body: "00".repeat(144), signature: "00".repeat(64) } },
        all,
      ),
    refused("evidence-malformed"),
  )
  const tdx = buildDcap({ tee: "tdx", reportData: releaseReportData(binding) })
  const swapped = { ...evidence, platform: { type: "sgx", quote: toHex(tdx.quote) } }
  assert.throws(
    () => verifyEvidence(swapped, { ...all, collateral: tdx.collateral }),
    refused("evidence-malformed"),
  )
  assert.throws(
    () => verifyEvidence({ ...evidence, platform: { ...platform, more: 1 } }, all),
    refused("evidence-malformed"),
  )
})

test("bindings separate their inputs, digests follow the evidence", () => {
  const { platform, platformNonce, nodeKey } = scene()
  assert.notDeepEqual(
    platformBinding(platformNonce, nodeKey),
    platformBinding(nodeKey, platformNonce),
  )
  assert.throws(() => platformBinding(new Uint8Array(31), nodeKey), TypeError)
  const other = { ...platform, key: "00".repeat(32) }
  assert.notDeepEqual(platformDigest(platform), platformDigest(other))
})
