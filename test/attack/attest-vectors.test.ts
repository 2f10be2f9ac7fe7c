import assert from "node:assert/strict"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { verifyAny } from "../../src/attest/any.ts"
import type { LooseClaims } from "../../src/attest/index.ts"
import { loadCollateral, noCollateral, productionRoots, rootsFrom } from "../../src/attest/index.ts"
import { flipped } from "../support/flip.ts"
import { refused, verdictOf } from "../support/refused.ts"

/**
 * Third-party quotes and reports, with the verdict that was published for them, at that time. They are not in the
 * repository: without the folder these tests say `skip`.
 */
const folder = "../shared/vectors"
const skip = existsSync(folder) ? false : `no ${folder}: third-party vectors are not committed`
const soak = process.env["COFFER_SOAK"] === "1"

function file(name: string): Uint8Array {
  return readFileSync(join(folder, name))
}

interface Vector {
  readonly file: string
  readonly now: number
  readonly collateral: readonly string[]
  /** A reason, or how the claims read. */
  readonly verdict: string
  readonly nonce?: string
  readonly roots?: string
}

const intelSample = "sgx-quote/intel-qvl-sample"
const phalaAdvisories = "ConfigurationAndSWHardeningNeeded INTEL-SA-00289 INTEL-SA-00615"
const amd = (product: string, name: string) => [`snp/${product}.pem`, `snp/${name}.vek.der`]

const vectors: readonly Vector[] = [
  dcap("sgx-quote/phala_sgx_quote.bin", 1752919277, "phala_sgx_quote", phalaAdvisories),
  dcap("tdx-quote/phala_tdx_quote.bin", 1752919234, "phala_tdx_quote", "UpToDate"),
  dcap(
    "tdx-quote/phala_tdx_quote_outdated.bin",
    1774003274,
    "phala_tdx_quote_outdated",
    "tcb-not-supported",
  ),
  dcap(
    "tdx-quote/oasis_quote_v4_tdx_ecdsa_p256.bin",
    1725263032,
    "oasis_quote_v4_tdx_ecdsa_p256",
    "UpToDate",
  ),
  dcap(
    "tdx-quote/oasis_quote_v4_tdx_ecdsa_p256_out_of_date.bin",
    1687091776,
    "oasis_quote_v4_tdx_ecdsa_p256_out_of_date",
    "tcb-not-supported",
  ),
  dcap(
    "tdx-quote/gotdx_tdx_prod_quote_SPR_E4.dat",
    1688173200,
    "gotdx_tdx_prod_quote_SPR_E4",
    "tcb-not-supported",
  ),
  dcap(
    "tdx-quote/gotdx_quote_v5_sample.dat",
    1770080400,
    "gotdx_quote_v5_sample",
    "qe-identity-expired",
  ),
  plain("tdx-quote/oasis_quote_v4_tdx_ecdsa_p256_trailing.bin", "signature only", 1726900000),
  plain("tdx-quote/gotdx_quote_v5_sample.dat", "signature only", 1770080400),
  plain("tdx-quote/gotdx_tdx_prod_quote_SPR_E4.dat", "quote-trailing-bytes"),
  plain("tdx-quote/trustee_tdx_quote_4.dat", "signature only, debug"),
  plain("sgx-quote/fortanix_quote_pck_cert_chain.bin", "signature only, debug"),
  plain("sgx-quote/fortanix_quote_pck_cert_chain_corrupted.bin", "quote-signature"),
  plain("sgx-quote/trustee_occlum_quote.dat", "signature only, debug"),
  {
    file: `${intelSample}/quote.dat`,
    now: 1_700_000_000,
    collateral: [intelSample],
    verdict: "root-not-pinned",
  },
  {
    file: `${intelSample}/quote.dat`,
    now: 1_700_000_000,
    collateral: [intelSample],
    roots: `${intelSample}/trustedRootCaCert.pem`,
    verdict: "UpToDate",
  },
  snp(
    "milan_vcek_go-sev-guest",
    amd("ask_ark_milan", "milan_vcek_go-sev-guest"),
    "Milan vcek debug",
  ),
  snp("milan_vcek_trustee", amd("ask_ark_milan", "milan_vcek_trustee"), "Milan vcek"),
  snp("milan_vlek_trustee", amd("ask_ark_milan_vlek", "milan_vlek_trustee"), "Milan vlek"),
  snp(
    "milan_vlek_trustee",
    amd("ask_ark_milan_vlek", "milan_vlek_trustee"),
    "chain-expired",
    1_770_000_000,
  ),
  snp("milan_vcek_trustee", amd("ask_ark_genoa", "milan_vcek_trustee"), "chain-name"),
  snp("milan_vcek_trustee", amd("ask_ark_milan", "milan_vcek_go-sev-guest"), "report-signature"),
  snp(
    "milan_vcek_trustee",
    ["snp/ask_ark_milan.pem", "snp/invalid_vcek_legacy.der"],
    "chain-signature",
  ),
  snp(
    "milan_vcek_trustee",
    ["snp/ask_ark_milan.pem", "snp/invalid_vcek_new.der"],
    "chain-signature",
  ),
  tpm("gce-cos-85.sha1", "gce-cos-85.ak.tpmt", "9009", "sha256"),
  tpm("gce-cos-85.sha256", "gce-cos-85.ak.tpmt", "9009", "sha256"),
  tpm("gce-cos-85.sha384", "gce-cos-85.ak.tpmt", "9009", "sha256"),
  tpm("gce-cos-85.sha384", "gce-cos-85.ak.tpmt", "9008", "nonce"),
  tpm("gcp_windows_sha1", "gcp_windows_sha1.ak.tpmt", "", "tpm-signature-hash"),
  tpm("swtpm_ecdsa", "swtpm_ecdsa.ak.pem", "00112233445566778899aabbccddeeff00112233", "sha256"),
  tpm("swtpm_rsassa", "swtpm_rsassa.ak.pem", "0badc0ffee", "sha256"),
  tpm("swtpm_rsassa", "swtpm_rsassa.ak.tpmt", "0badc0ffee", "sha256"),
  tpm("swtpm_rsassa", "gce-cos-85.ak.tpmt", "0badc0ffee", "tpm-signature"),
  {
    file: "azure-vtpm/az-snp-evidence-v1.json",
    now: 1_750_000_000,
    collateral: ["snp/ask_ark_milan.pem"],
    nonce: "6368616c6c656e6765",
    verdict: "Milan vcek and sha256",
  },
  {
    file: "azure-vtpm/az-snp-evidence-v1.json",
    now: 1_750_000_000,
    collateral: ["snp/ask_ark_milan.pem"],
    nonce: "00",
    verdict: "nonce",
  },
]

function dcap(name: string, now: number, collateral: string, verdict: string): Vector {
  return { file: name, now, collateral: [`collateral/${collateral}.json`], verdict }
}

function plain(name: string, verdict: string, now = 1_700_000_000): Vector {
  return { file: name, now, collateral: [], verdict }
}

function snp(
  name: string,
  collateral: readonly string[],
  verdict: string,
  now = 1_740_000_000,
): Vector {
  return { file: `snp/${name}.report.bin`, now, collateral, verdict }
}

function tpm(name: string, key: string, nonce: string, verdict: string): Vector {
  return {
    file: `tpm2/${name}.msg`,
    now: 1_750_000_000,
    collateral: [`tpm2/${key}`],
    nonce,
    verdict,
  }
}

function textOf(claims: LooseClaims): string {
  switch (claims.type) {
    case "tdx":
    case "sgx": {
      const { tcb, debug } = claims
      if (tcb === undefined) return debug ? "signature only, debug" : "signature only"
      return [tcb.status, ...tcb.advisories].join(" ")
    }
    case "sev-snp":
      return `${claims.product} ${claims.signer}${claims.policy.debug ? " debug" : ""}`
    case "tpm2":
      return claims.signatureHash
    case "insecure-sim":
      return "insecure"
    case "azure":
      return `${textOf(claims.hardware)} and ${textOf(claims.tpm)}`
  }
}

function verifierOf(vector: Vector) {
  const collateral =
    vector.collateral.length === 0
      ? noCollateral
      : loadCollateral(vector.collateral.map((name) => join(folder, name)))
  const roots =
    vector.roots === undefined ? productionRoots : rootsFrom(file(vector.roots), vector.roots)
  const nonce = vector.nonce === undefined ? undefined : Buffer.from(vector.nonce, "hex")
  const signatureName = vector.file.replace(/\.msg$/, ".sig")
  const signature = signatureName === vector.file ? undefined : file(signatureName)
  const context = { collateral, roots, now: vector.now, nonce }
  return {
    signature,
    verify: (bytes: Uint8Array, other: Uint8Array | undefined = signature) =>
      verifyAny({ bytes, type: undefined, signature: other, pcrs: undefined }, context),
  }
}

for (const vector of vectors)
  test(`${vector.file} at ${vector.now}: ${vector.verdict}`, { skip }, () => {
    const { verify } = verifierOf(vector)
    const bytes = file(vector.file)
    if (/^[A-Z]|^s(?:ignature only|ha256)/.test(vector.verdict))
      assert.equal(textOf(verify(bytes)), vector.verdict)
    else assert.throws(() => verify(bytes), refused(vector.verdict))
  })

// Every bit in the soak; here 60 places.
for (const vector of vectors.filter(({ verdict }) => /^[A-Z]|^s(?:i|h)/.test(verdict)))
  test(`${vector.file}: every single-byte change is refused`, { skip }, () => {
    const { verify, signature } = verifierOf(vector)
    const bytes = file(vector.file)
    const stride = soak ? 1 : Math.ceil(bytes.length / 60)
    for (let at = 0; at < bytes.length; at += stride)
      for (const bit of soak ? [0, 1, 2, 3, 4, 5, 6, 7] : [(at / stride) & 7]) {
        const changed = flipped(bytes, at, bit)
        assert.notEqual(
          verdictOf(() => verify(changed)),
          "accepted",
          `byte ${at}, bit ${bit}`,
        )
      }
    if (signature === undefined) return
    for (let at = 0; at < signature.length; at += 1) {
      const changed = flipped(signature, at)
      assert.notEqual(
        verdictOf(() => verify(bytes, changed)),
        "accepted",
        `signature byte ${at}`,
      )
    }
  })

test("a folder of many platforms' collateral serves each of them", { skip }, () => {
  const collateral = loadCollateral([join(folder, "collateral")])
  assert.ok(collateral.tcbInfos.length >= 7 && readdirSync(join(folder, "collateral")).length > 0)
  const context = { collateral, roots: productionRoots, now: 1752919234, nonce: undefined }
  const claims = verifyAny(
    {
      bytes: file("tdx-quote/phala_tdx_quote.bin"),
      type: "tdx",
      signature: undefined,
      pcrs: undefined,
    },
    context,
  )
  assert.equal(textOf(claims), "UpToDate")
})
