import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { generateKeyPairSync } from "node:crypto"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import {
  defaultPcrs,
  type EvidenceContext,
  makeEvidence,
  type Platform,
  rawPublicKey,
  sealToTpm,
  selectionsOf,
  Tpm,
  TpmCounter,
  tpmPlatform,
  unsealFromTpm,
  validateEvidence,
  verifyEvidence,
} from "../../src/attest/index.ts"
import type { Tpm2Policy } from "../../src/attest/policy.ts"
import { verifyTpmQuote } from "../../src/attest/tpm2/verify.ts"
import { randomBytes } from "../../src/crypto/index.ts"
import { formatPem } from "../../src/der/index.ts"
import { CofferError } from "../../src/errors.ts"
import { flipped } from "../support/flip.ts"
import { refused } from "../support/refused.ts"
import { noSwtpm, SoftwareTpm } from "../support/swtpm.ts"

const skip = noSwtpm
const mrEnclave = new Uint8Array(32).fill(0x11)

const enclave = {
  mrEnclave: "11".repeat(32),
  mrSigner: undefined,
  productId: 0,
  svn: 0,
  debug: false,
  engineTrusted: false,
  runtimeVersion: [0, 1, 0],
} as const

function exchange() {
  const node = generateKeyPairSync("ed25519")
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
    acceptsPlatformNonce: (nonce) => Buffer.compare(nonce, platformNonce) === 0,
  }
  const make = async (platform: Platform, nonce = platformNonce) =>
    makeEvidence(
      await platform.evidence(nonce, rawPublicKey(node.publicKey)),
      enclave,
      node.privateKey,
      binding,
    )
  return { context, make }
}

async function withTpm(run: (tpm: Tpm, software: SoftwareTpm) => Promise<void>): Promise<void> {
  const software = await new SoftwareTpm().start()
  try {
    const tpm = await Tpm.open(software.address)
    try {
      await run(tpm, software)
    } finally {
      await tpm.close()
    }
  } finally {
    await software.stop()
  }
}

async function policyFor(tpm: Tpm): Promise<Tpm2Policy> {
  const ak = await tpm.createAttestationKey()
  const { akName } = verifyTpmQuote({
    ...(await tpm.quote(ak, new Uint8Array(), selectionsOf(["sha256:0"]))),
    ak: { kind: "tpmt", bytes: ak.publicArea },
    pcrs: undefined,
    nonce: undefined,
  })
  await tpm.flush(ak.handle)
  const pcrs = await tpm.readPcrs(selectionsOf(defaultPcrs))
  return {
    type: "tpm2",
    aks: [akName],
    pcrs: Object.fromEntries(Object.entries(pcrs).map(([name, value]) => [name, [value]])),
  }
}

test(
  "boot, extend, quote, accept; then a changed PCR, a wrong nonce, another AK: refused",
  { skip },
  () =>
    withTpm(async (tpm) => {
      const platform = tpmPlatform(tpm)
      await platform.extend(mrEnclave)
      const policy = await policyFor(tpm)
      const { context, make } = exchange()
      const evidence = await make(platform)
      const claims = verifyEvidence(evidence, context)
      validateEvidence(claims, [policy])
      assert.equal(claims.platform.type, "tpm2")
      assert.throws(
        () => validateEvidence(claims, [{ ...policy, aks: [] }]),
        refused("policy-platform-aks"),
      )
      // A nonce of another exchange.
      const stale = await make(platform, randomBytes(32))
      assert.throws(() => verifyEvidence(stale, context), refused("platform-nonce"))
      const all = { ...context, acceptsPlatformNonce: () => true }
      const swapped = { ...evidence, platform: { ...evidence.platform, nonce: "00".repeat(32) } }
      assert.throws(() => verifyEvidence(swapped, all), refused("nonce"))
      // The register moves on.
      await platform.extend(mrEnclave)
      const after = verifyEvidence(await make(platform), context)
      assert.throws(
        () => validateEvidence(after, [policy]),
        refused("policy-platform-pcrs-sha256-15"),
      )
      // The old values beside the new quote.
      const old = evidence.platform.type === "tpm2" ? evidence.platform.pcrs : {}
      const lying = await make(platform)
      assert.throws(
        () => verifyEvidence({ ...lying, platform: { ...lying.platform, pcrs: old } }, context),
        refused("pcr-digest"),
      )
      // Another TPM with the same registers.
      await withTpm(async (other) => {
        const clone = tpmPlatform(other)
        await clone.extend(mrEnclave)
        const foreign = verifyEvidence(await make(clone), context)
        assert.throws(() => validateEvidence(foreign, [policy]), refused("policy-platform-aks"))
      })
    }),
)

test("every byte of message, signature and key counts", { skip }, () =>
  withTpm(async (tpm) => {
    const ak = await tpm.createAttestationKey()
    const selections = selectionsOf(["sha256:15"])
    const nonce = randomBytes(32)
    const quote = await tpm.quote(ak, nonce, selections)
    const good = {
      ...quote,
      ak: { kind: "tpmt", bytes: ak.publicArea } as const,
      pcrs: await tpm.readPcrs(selections),
      nonce,
    }
    const { akName } = verifyTpmQuote(good)
    const refuses = (input: typeof good, what: string) => {
      try {
        // Attributes of the key may be changed freely by who shows it: then it has another name, which nobody enrolled.
        assert.notEqual(verifyTpmQuote(input).akName, akName, what)
      } catch (error) {
        assert.ok(error instanceof CofferError && error.code === "refused", what)
      }
    }
    for (let at = 0; at < quote.message.length; at += 1)
      refuses({ ...good, message: flipped(quote.message, at) }, `message ${at}`)
    for (let at = 0; at < quote.signature.length; at += 1)
      refuses({ ...good, signature: flipped(quote.signature, at) }, `signature ${at}`)
    for (let at = 0; at < ak.publicArea.length; at += 1) {
      const bytes = flipped(ak.publicArea, at)
      refuses({ ...good, ak: { kind: "tpmt", bytes } }, `key ${at}`)
    }
    await tpm.flush(ak.handle)
  }),
)

const noTools =
  noSwtpm !== false
    ? noSwtpm
    : spawnSync("tpm2_checkquote", ["--version"]).status === 0
      ? false
      : "no tpm2-tools on this machine"

test("tpm2_checkquote agrees", { skip: noTools }, () =>
  withTpm(async (tpm, software) => {
    const ak = await tpm.createAttestationKey()
    const nonce = randomBytes(20)
    const { message, signature } = await tpm.quote(
      ak,
      nonce,
      selectionsOf(["sha256:0", "sha256:15"]),
    )
    const { key } = await import("../../src/attest/tpm2/public-area.ts").then(
      ({ parseTpmPublic }) => parseTpmPublic(ak.publicArea),
    )
    const file = (name: string, bytes: Uint8Array | string) => {
      writeFileSync(join(software.folder, name), bytes)
      return join(software.folder, name)
    }
    const check = (said: string) =>
      spawnSync("tpm2_checkquote", [
        `--public=${file("ak.pem", formatPem("PUBLIC KEY", key.export({ type: "spki", format: "der" })))}`,
        `--message=${file("quote.msg", message)}`,
        `--signature=${file("quote.sig", signature)}`,
        "--hash-algorithm=sha256",
        `--qualification=${said}`,
      ])
    const right = check(Buffer.from(nonce).toString("hex"))
    assert.equal(right.status, 0, right.stderr.toString())
    assert.notEqual(check("00").status, 0)
    await tpm.flush(ak.handle)
  }),
)

test("an NV counter only grows, over deletion and reboot", { skip }, async () => {
  const software = await new SoftwareTpm().start()
  const boot = async <T>(run: (counter: TpmCounter) => Promise<T>): Promise<T> => {
    const tpm = await Tpm.open(software.address)
    try {
      return await run(new TpmCounter(tpm, 0x01800001))
    } finally {
      await tpm.close()
      await software.halt()
    }
  }
  try {
    const first = await boot(async (counter) => {
      await counter.ensure()
      await counter.ensure()
      await counter.increment()
      return counter.read()
    })
    await software.start()
    const second = await boot(async (counter) => {
      assert.equal(await counter.read(), first)
      await counter.remove()
      await counter.ensure()
      return counter.read()
    })
    assert.ok(second > first, `${second} after ${first}`)
  } finally {
    await software.stop()
  }
})

function sealed(error: unknown): boolean {
  return error instanceof CofferError && error.code === "integrity"
}

test("sealed data comes back under the same PCRs only, on the same TPM only", { skip }, () =>
  withTpm(async (tpm) => {
    const secret = randomBytes(32)
    const blob = await sealToTpm(tpm, secret, selectionsOf(["sha256:7", "sha256:15"]))
    assert.deepEqual(new Uint8Array(await unsealFromTpm(tpm, blob)), secret)
    await withTpm(async (other) => {
      await assert.rejects(unsealFromTpm(other, blob), sealed)
    })
    for (const at of [3, 20, 60, blob.length - 1])
      await assert.rejects(unsealFromTpm(tpm, flipped(blob, at)), sealed)
    await tpm.extendPcr(15, "sha256", mrEnclave)
    // Often: nothing of a refused attempt stays in the TPM's few slots.
    for (let i = 0; i < 8; i += 1) await assert.rejects(unsealFromTpm(tpm, blob), sealed)
  }),
)

test("no TPM there: what was wanted is said", async () => {
  await assert.rejects(
    Tpm.open("unix:/nowhere/socket"),
    (error) => error instanceof CofferError && error.code === "missing",
  )
  await assert.rejects(
    async () => Tpm.open("nonsense"),
    (error) => error instanceof CofferError && error.code === "config",
  )
})
