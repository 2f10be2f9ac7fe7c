import assert from "node:assert/strict"
import { generateKeyPairSync } from "node:crypto"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { buildDcap } from "../../../test/support/dcap.ts"
import { makeCrl, testNow } from "../../../test/support/pki.ts"
import { noSwtpm, SoftwareTpm } from "../../../test/support/swtpm.ts"
import { simEvidence } from "../../attest/index.ts"
import { formatPem } from "../../der/index.ts"
import { CofferError } from "../../errors.ts"
import type { Io } from "../io.ts"
import { attestCommand } from "./attest.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-attest-"))
after(() => rmSync(folder, { recursive: true, force: true }))

function path(name: string, content: string | Uint8Array): string {
  const file = join(folder, name)
  writeFileSync(file, content)
  return file
}

function run(...argv: readonly string[]) {
  return runVerb("verify", ...argv)
}

async function runVerb(...argv: readonly string[]) {
  const out: string[] = []
  const err: string[] = []
  const io: Io = {
    out,
    err,
    env: {},
    terminal: false,
    columns: 80,
    exitCode: 0,
    print: (line: string) => out.push(line),
    write: () => undefined,
    warn: (line: string) => err.push(line),
    warnRaw: () => undefined,
  } as Io
  const command = attestCommand(io)
  for (const each of [command, ...command.commands])
    each.exitOverride().configureOutput({ writeErr: () => undefined })
  await command.parseAsync([...argv], { from: "user" })
  return { out: out.join("\n"), err: err.join("\n") }
}

const built = buildDcap({ tee: "tdx" })
const [info] = built.collateral.tcbInfos
const [identity] = built.collateral.identities
assert.ok(info !== undefined && identity !== undefined)
const chain = info.chain.map((item) => formatPem("CERTIFICATE", item.raw)).join("")
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex")
const root = path("root.pem", formatPem("CERTIFICATE", info.chain[1]?.raw ?? new Uint8Array()))
const quote = path("quote.bin", built.quote)
const all = path(
  "collateral.json",
  JSON.stringify({
    tcb_info: info.text,
    tcb_info_signature: hex(info.signature),
    tcb_info_issuer_chain: chain,
    qe_identity: identity.text,
    qe_identity_signature: hex(identity.signature),
    qe_identity_issuer_chain: chain,
    pck_crl: hex(makeCrl({ issuer: built.parties.authority })),
    root_ca_crl: hex(makeCrl({ issuer: built.parties.root })),
  }),
)
const common = ["--now", String(testNow), "--insecure-root", root]

function failing(code: string, reason: string): (error: unknown) => boolean {
  return (error) => error instanceof CofferError && error.code === code && error.reason === reason
}

test("a genuine quote: the verdict is the first line, the claims are JSON on demand", async () => {
  const text = await run(quote, "--collateral", all, ...common)
  assert.match(text.out, /^genuine: TDX quote, platform UpToDate\n/)
  assert.match(text.err, /--insecure-root/)
  const json = await run("--collateral", all, quote, ...common, "--json", "--type", "tdx")
  const document: unknown = JSON.parse(json.out)
  assert.ok(typeof document === "object" && document !== null)
  assert.partialDeepStrictEqual(document, {
    verdict: "genuine",
    tcbStatus: "UpToDate",
    advisories: [],
    claims: { type: "tdx", debug: false, revocationChecked: true },
  })
})

test("PCS answers, one file each, DER and hex", async () => {
  const pcs = join(folder, "pcs")
  const { mkdirSync } = await import("node:fs")
  mkdirSync(join(pcs, "crl"), { recursive: true })
  const signature = hex(info.signature)
  path("pcs/tcb.json", `{"tcbInfo":${info.text},"signature":"${signature}"}`)
  path(
    "pcs/qe.json",
    `{ "enclaveIdentity" : ${identity.text} , "signature":"${hex(identity.signature)}" }`,
  )
  path("pcs/chain.pem", encodeURIComponent(chain))
  path("pcs/crl/pck.crl", makeCrl({ issuer: built.parties.authority }))
  path("pcs/crl/root.hex", `${hex(makeCrl({ issuer: built.parties.root }))}\n`)
  path("pcs/README", "not collateral")
  const { out } = await run(path("quote.hex", hex(built.quote)), "--collateral", pcs, ...common)
  assert.match(out, /platform UpToDate/)
})

test("without collateral the signature is verified, and what was not judged is said", async () => {
  const { out, err } = await run(quote, ...common)
  assert.match(out, /^genuine signature: TDX quote, TCB unknown/)
  assert.match(err, /TCB was not judged/)
  assert.match(err, /revocation was not checked/)
})

test("refusals, and what is missing, by their codes", async () => {
  await assert.rejects(
    run(quote, "--collateral", all, "--now", String(testNow)),
    failing("refused", "root-not-pinned"),
  )
  await assert.rejects(run(quote, "--type", "sgx", ...common), failing("refused", "evidence-type"))
  await assert.rejects(run(quote, "--nonce", "00", ...common), failing("refused", "nonce"))
  await assert.rejects(run(path("x", "x"), ...common), failing("refused", "evidence-malformed"))
  await assert.rejects(
    run(path("q.msg", "\xfftcg"), "--type", "tpm2"),
    failing("missing", "tpm-signature-missing"),
  )
  await assert.rejects(
    run(quote, "--collateral", path("y", "y"), ...common),
    failing("config", "collateral-unknown"),
  )
  await assert.rejects(
    run(quote, "--collateral", path("z.json", '{"tcbInfo":{},"signature":"00"}'), ...common),
    failing("config", "collateral-malformed"),
  )
  await assert.rejects(
    run(join(folder, "nowhere"), ...common),
    (error) => error instanceof CofferError && error.code === "missing",
  )
  const nonce = hex(new Uint8Array(64).fill(3))
  assert.match((await run(quote, "--nonce", nonce, ...common)).out, /nonce/)
})

test("what a cache holds, what is stale, what is missing", async () => {
  const now = await runVerb("collateral", all, "--now", String(testNow), "--json")
  const listed: unknown = JSON.parse(now.out)
  assert.partialDeepStrictEqual(listed, { missing: { intel: [] } })
  const later = await runVerb("collateral", all, "--now", String(testNow + 9 * 86400))
  assert.match(later.out, /^stale +tcb-info/m)
  assert.match(later.out, /missing for intel: tcb-info, qe-identity, crl of Intel SGX Root CA/)
})

test("the name of a TPM's attestation key", { skip: noSwtpm }, async () => {
  const software = await new SoftwareTpm().start()
  try {
    const file = join(folder, "ak.tpmt")
    const { out } = await runVerb("ak", "--tpm", software.address, "--out", file)
    assert.match(out, /^000b[0-9a-f]{64}$/)
  } finally {
    await software.stop()
  }
})

test("our own evidence: insecure-sim says so in the first line", async () => {
  const key = generateKeyPairSync("ed25519").privateKey
  const evidence = simEvidence(key, new Uint8Array(32).fill(1), new Uint8Array(32).fill(2))
  const file = path("sim.json", JSON.stringify(evidence))
  const { out } = await run(file, "--nonce", "01".repeat(32))
  assert.match(out, /^INSECURE: /)
  assert.match((await run(file, "--json")).out, /"verdict":"insecure"/)
  await assert.rejects(run(file, "--nonce", "02".repeat(32)), failing("refused", "platform-nonce"))
})
