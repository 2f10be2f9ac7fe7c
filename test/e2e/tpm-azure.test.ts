/** An Azure confidential VM of SEV-SNP: a software TPM in the place of the paravisor's, a test AMD in the place of AMD. */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { createHash, createPublicKey, generateKeyPairSync } from "node:crypto"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import {
  azurePlatform,
  type NodeEvidence,
  type PlatformPolicy,
  rawPublicKey,
  Tpm,
  validatePlatform,
  verifyPlatform,
} from "../../src/attest/index.ts"
import { openTpmTransport, type TpmTransport } from "../../src/attest/tpm2/transport.ts"
import { toHex } from "../../src/bytes/index.ts"
import { randomBytes } from "../../src/crypto/index.ts"
import { flipped } from "../support/flip.ts"
import { refused, verdictOf } from "../support/refused.ts"
import { buildSnp } from "../support/snp.ts"
import { noSwtpm, SoftwareTpm } from "../support/swtpm.ts"

const skip =
  noSwtpm === false && spawnSync("tpm2_createprimary", ["--version"]).status !== 0
    ? "no tpm2-tools on this machine"
    : noSwtpm

/** Makes the key under the handle where Azure has it; its modulus and exponent as in a JWK. */
function makeKey(software: SoftwareTpm): { readonly n: string; readonly e: string } {
  const at = (name: string) => join(software.folder, name)
  const run = (command: string, ...args: readonly string[]) => {
    const env = { ...process.env, TPM2TOOLS_TCTI: software.tcti }
    const { status, stderr } = spawnSync(command, args, { env, encoding: "utf8" })
    assert.equal(status, 0, `${command}: ${stderr}`)
  }
  const attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign"
  const template = ["-C", "e", "-G", "rsa2048:rsassa-sha256:null", "-a", attributes]
  run("tpm2_createprimary", ...template, "-c", at("ak.ctx"))
  run("tpm2_evictcontrol", "-C", "o", "-c", at("ak.ctx"), "0x81000003")
  run("tpm2_flushcontext", "-t")
  run("tpm2_readpublic", "-c", "0x81000003", "-f", "pem", "-o", at("ak.pem"))
  const { n = "", e = "" } = createPublicKey(readFileSync(at("ak.pem"))).export({ format: "jwk" })
  return { n, e }
}

const u32 = (...values: readonly number[]) => {
  const out = Buffer.alloc(4 * values.length)
  for (const [i, value] of values.entries()) out.writeUInt32LE(value, 4 * i)
  return out
}

/** The paravisor's report: header, SNP report over the hash of the runtime data, runtime data. */
function hclReport(key: { readonly n: string; readonly e: string }) {
  const runtime = Buffer.from(
    JSON.stringify({
      keys: [{ kid: "HCLAkPub", key_ops: ["sign"], kty: "RSA", ...key }],
      "vm-configuration": { "console-enabled": true, "secure-boot": true },
      "user-data": "00".repeat(64),
    }),
  )
  const hash = createHash("sha256").update(runtime).digest()
  const snp = buildSnp({ reportData: Buffer.concat([hash, Buffer.alloc(32)]) })
  const size = 32 + 1184 + 20 + runtime.length
  const head = Buffer.concat([Buffer.from("HCLA"), u32(1, size, 2), Buffer.alloc(16)])
  const data = u32(20 + runtime.length, 1, 2, 1, runtime.length)
  const used = Buffer.concat([head, snp.report, data, runtime])
  return { hcl: Buffer.concat([used, Buffer.alloc(2600 - used.length)]), snp }
}

/** Software TPMs have no NV memory of that size: its reads are answered here, all else is the TPM's. */
function withReport(below: TpmTransport, hcl: Uint8Array): TpmTransport {
  return {
    close: () => below.close(),
    transceive(command) {
      const view = Buffer.from(command)
      if (view.readUInt32BE(6) !== 0x14e || view.readUInt32BE(14) !== 0x01400001)
        return below.transceive(command)
      const [size, at] = [view.readUInt16BE(view.length - 4), view.readUInt16BE(view.length - 2)]
      const piece = Buffer.alloc(2 + size)
      piece.writeUInt16BE(size)
      piece.set(hcl.subarray(at, at + size), 2)
      const response = Buffer.alloc(10)
      response.writeUInt16BE(0x8001)
      response.writeUInt32BE(10 + piece.length, 2)
      return Promise.resolve(Buffer.concat([response, piece]))
    },
  }
}

test("the paravisor's report binds its TPM's key, and the TPM binds nonce, node key and registers", {
  skip,
}, async () => {
  const software = await new SoftwareTpm().start()
  const { hcl, snp } = hclReport(makeKey(software))
  const tpm = new Tpm(withReport(await openTpmTransport(software.address), hcl))
  try {
    const nonce = randomBytes(32)
    const nodeKey = rawPublicKey(generateKeyPairSync("ed25519").publicKey)
    const { certificates } = snp.collateral
    const platform = azurePlatform(tpm, () => certificates, ["sha256:7", "sha256:15"])
    await platform.extend(new Uint8Array(32).fill(0x11))
    const evidence = await platform.evidence(nonce, nodeKey)
    assert.ok(evidence.type === "azure")
    const context = {
      now: snp.now,
      roots: snp.roots,
      collateral: { ...snp.collateral, certificates: [] },
      acceptsPlatformNonce: () => true,
    }
    const verified = (value: NodeEvidence) => verifyPlatform(value, context).claims
    const claims = verified(evidence)
    assert.ok(claims.type === "azure" && claims.hardware.type === "sev-snp")
    const pcr = claims.tpm.pcrs["sha256:15"] ?? ""
    const policy: PlatformPolicy = {
      type: "azure",
      hardware: {
        type: "sev-snp",
        measurements: [claims.hardware.measurement],
        allowSmt: true,
        requireRevocation: false,
      },
      pcrs: { "sha256:15": [pcr] },
    }
    validatePlatform(claims, policy)
    const other = { ...policy, pcrs: { "sha256:15": ["00".repeat(32)] } }
    assert.throws(() => validatePlatform(claims, other), refused("policy-platform-pcrs-sha256-15"))
    // Another nonce, another node's key, another machine's report, a certificate that is not of the chain.
    const says = (value: NodeEvidence) => verdictOf(() => verified(value))
    assert.equal(says({ ...evidence, nonce: "00".repeat(32) }), "nonce")
    assert.equal(says({ ...evidence, nodeKey: "11".repeat(32) }), "nonce")
    const foreign = hclReport({ n: Buffer.alloc(256, 0xc5).toString("base64url"), e: "AQAB" })
    assert.equal(says({ ...evidence, hcl: toHex(foreign.hcl) }), "tpm-signature")
    const ark = certificates.at(-1)
    const more = [...evidence.certificates, evidence.certificates[0] ?? ""]
    assert.ok(ark !== undefined)
    assert.equal(says({ ...evidence, certificates: more }), "chain-superfluous")
    for (let at = 0; at < hcl.length; at += at < 40 || at > 1210 ? 3 : 41)
      assert.notEqual(says({ ...evidence, hcl: toHex(flipped(hcl, at)) }), "accepted", `hcl ${at}`)
  } finally {
    await tpm.close()
    await software.stop()
  }
})
