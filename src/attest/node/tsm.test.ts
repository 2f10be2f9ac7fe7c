import assert from "node:assert/strict"
import { generateKeyPairSync } from "node:crypto"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { buildDcap } from "../../../test/support/dcap.ts"
import { FakeTsm } from "../../../test/support/fake-tsm.ts"
import { buildSnp } from "../../../test/support/snp.ts"
import { randomBytes, sha384 } from "../../crypto/index.ts"
import { CofferError } from "../../errors.ts"
import { platformBinding, rawPublicKey, verifyPlatform } from "../index.ts"
import { simPlatform, snpPlatform, tdxPlatform } from "./platform.ts"
import { requestTsmReport } from "./tsm.ts"

const data = new Uint8Array(64).fill(1)

const echo = (inblob: Uint8Array) => Uint8Array.from(inblob)

function coffer(code: string, message: RegExp): (error: unknown) => boolean {
  return (error) =>
    error instanceof CofferError && error.code === code && message.test(error.message)
}

test("one report: the data is taken at close, the request is removed", async () => {
  const tsm = new FakeTsm({ provider: "tdx_guest", report: (inblob) => Buffer.from(inblob) })
  const { outblob, auxblob } = await requestTsmReport(tsm, data)
  assert.deepEqual(new Uint8Array(outblob), data)
  assert.equal(auxblob.length, 0)
  assert.deepEqual(tsm.requests, [])
})

test("a write that the kernel dropped, or that another made, is noticed", async () => {
  const dropping = new FakeTsm({ provider: "tdx_guest", report: echo, dropWrites: true })
  await assert.rejects(requestTsmReport(dropping, data), coffer("io", /generation/))
  const racing = new FakeTsm({ provider: "tdx_guest", report: echo, raceAt: "outblob" })
  await assert.rejects(requestTsmReport(racing, data), coffer("io", /generation/))
  assert.deepEqual([...dropping.requests, ...racing.requests], [])
})

test("busy hardware is asked again; a refusal, another provider, no interface are said", async () => {
  const busy = new FakeTsm({ provider: "tdx_guest", report: echo, busy: 3 })
  assert.equal((await requestTsmReport(busy, data)).outblob.length, 64)
  const refusing = new FakeTsm({ provider: "tdx_guest", report: () => undefined })
  await assert.rejects(requestTsmReport(refusing, data), coffer("io", /EINVAL/))
  const arm = new FakeTsm({ provider: "arm_cca_guest", report: echo })
  await assert.rejects(requestTsmReport(arm, data), coffer("missing", /arm_cca_guest/))
  const none = new FakeTsm({ provider: "tdx_guest", report: echo, absent: true })
  await assert.rejects(requestTsmReport(none, data), coffer("missing", /ENOENT/))
  const large = new FakeTsm({ provider: "tdx_guest", report: () => Buffer.alloc(9000) })
  await assert.rejects(requestTsmReport(large, data), coffer("io", /8192/))
})

const folder = mkdtempSync(join(tmpdir(), "coffer-rtmr-"))
after(() => rmSync(folder, { recursive: true, force: true }))

function scene() {
  const nonce = randomBytes(32)
  const nodeKey = rawPublicKey(generateKeyPairSync("ed25519").publicKey)
  const context = { nonce, casKey: nonce, policyName: "p", acceptsPlatformNonce: () => true }
  return { nonce, nodeKey, context }
}

test("TDX: evidence from the fake verifies against its own root, MrEnclave goes into RTMR3", async () => {
  const { nonce, nodeKey, context } = scene()
  const built = buildDcap()
  const tsm = new FakeTsm({
    provider: "tdx_guest",
    report: (reportData) => buildDcap({ tee: "tdx", reportData }).quote,
  })
  const platform = tdxPlatform(tsm, folder)
  const evidence = await platform.evidence(nonce, nodeKey)
  const { collateral } = buildDcap({ tee: "tdx" })
  const all = { ...context, now: built.now, roots: built.roots, collateral }
  assert.equal(verifyPlatform(evidence, all).claims.type, "tdx")
  const other = { ...evidence, nodeKey: "11".repeat(32) }
  assert.throws(() => verifyPlatform(other, all), coffer("refused", /report data/))
  writeFileSync(join(folder, "rtmr3:sha384"), "")
  await platform.extend(new Uint8Array(32).fill(2))
  const written = new Uint8Array(readFileSync(join(folder, "rtmr3:sha384")))
  assert.deepEqual(written, new Uint8Array(sha384(new Uint8Array(32).fill(2))))
  const nowhere = tdxPlatform(tsm, join(folder, "none"))
  await assert.rejects(nowhere.extend(nonce), coffer("missing", /rtmr3/))
})

test("SNP: report and the host's certificate table", async () => {
  const { nonce, nodeKey, context } = scene()
  const built = buildSnp()
  const [vek, ask] = built.collateral.certificates
  assert.ok(vek !== undefined && ask !== undefined)
  const tsm = new FakeTsm({
    provider: "sev_guest",
    report: (reportData) => buildSnp({ reportData }).report,
    aux: FakeTsm.certificateTable([vek.raw, ask.raw]),
  })
  const evidence = await snpPlatform(tsm).evidence(nonce, nodeKey)
  const all = { ...context, now: built.now, roots: built.roots }
  const { claims } = verifyPlatform(evidence, all)
  assert.equal(claims.type, "sev-snp")
  assert.equal(claims.reportData, Buffer.from(platformBinding(nonce, nodeKey)).toString("hex"))
  await assert.rejects(tdxPlatform(tsm).evidence(nonce, nodeKey), coffer("config", /tdx_guest/))
})

test("insecure-sim", async () => {
  const { nonce, nodeKey, context } = scene()
  const platform = simPlatform(generateKeyPairSync("ed25519").privateKey)
  await platform.extend(nonce)
  const evidence = await platform.evidence(nonce, nodeKey)
  assert.equal(verifyPlatform(evidence, { ...context, now: 0 }).claims.type, "insecure-sim")
})
