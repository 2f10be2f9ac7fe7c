import assert from "node:assert/strict"
import { generateKeyPairSync } from "node:crypto"
import { after, test } from "node:test"
import {
  makeEvidence,
  type NodeEvidence,
  rawPublicKey,
  Tpm,
  tpmPlatform,
  verifyPlatform,
} from "../../src/attest/index.ts"
import { openEmbeddedCas } from "../../src/cas/index.ts"
import { CofferError } from "../../src/errors.ts"
import { enclave, mrEnclave, person, putPolicy, scratch } from "../support/cas.ts"
import { noSwtpm, SoftwareTpm } from "../support/swtpm.ts"

const place = scratch()
after(place.remove)

/** What an operator enrols: the key's name and the registers, read from a quote of the good machine. */
function enrolled(platform: NodeEvidence): { readonly key: string; readonly pcr: string } {
  const context = {
    now: 0,
    nonce: new Uint8Array(32),
    casKey: new Uint8Array(32),
    policyName: "",
    acceptsPlatformNonce: () => true,
  }
  const { claims } = verifyPlatform(platform, context)
  assert.ok(claims.type === "tpm2")
  return { key: claims.akName, pcr: claims.pcrs["sha256:15"] ?? "" }
}

function policyText(admin: string, key: string, pcr: string): string {
  return `version: 1
name: hard
services: { web: { measurements: ["${mrEnclave}"], platforms: [box], env: { TOKEN: $$secret:token$$ } } }
platforms: { box: { type: tpm2, attestationKeys: ["${key}"], pcrs: { "15": ["${pcr}"] } } }
secrets: { token: { kind: ascii } }
access: { keys: { admin: "${admin}" }, update: { of: [admin] } }
`
}

const no = (field: string) => (error: unknown) =>
  error instanceof CofferError &&
  error.code === "refused" &&
  error.message.startsWith(`platforms.box.${field}: wanted`)

test("a machine with a TPM gets the keys; a changed register or another TPM does not", {
  skip: noSwtpm,
}, async () => {
  const { cas, client } = await openEmbeddedCas(place.dir)
  const machines = [await new SoftwareTpm().start(), await new SoftwareTpm().start()] as const
  const [tpm, other] = [await Tpm.open(machines[0].address), await Tpm.open(machines[1].address)]
  try {
    const node = generateKeyPairSync("ed25519").privateKey
    const quote = async (from: Tpm) =>
      await tpmPlatform(from).evidence(await client.challenge(), rawPublicKey(node))
    const ask = async (platform: NodeEvidence) =>
      await client.attest({
        policy: "hard",
        service: "web",
        makeEvidence: (binding) => makeEvidence(platform, enclave, node, binding),
      })
    await tpmPlatform(tpm).extend(Buffer.from(mrEnclave, "hex"))
    await tpmPlatform(other).extend(Buffer.from(mrEnclave, "hex"))
    const good = await quote(tpm)
    const { key, pcr } = enrolled(good)
    const admin = person()
    await putPolicy(cas, policyText(admin.public, key, pcr), [admin])
    const answer = await ask(good)
    assert.equal(answer.platformType, "tpm2")
    assert.match(answer.env["TOKEN"] ?? "", /^[A-Za-z0-9]{32}$/)
    const foreign = await quote(other)
    await assert.rejects(ask(foreign), no("attestationKeys"))
    await tpmPlatform(tpm).extend(Buffer.from(mrEnclave, "hex"))
    const changed = await quote(tpm)
    await assert.rejects(ask(changed), no("pcrs.15"))
  } finally {
    await tpm.close()
    await other.close()
    for (const machine of machines) await machine.stop()
    await cas.close()
  }
})
