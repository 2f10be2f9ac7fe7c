import assert from "node:assert/strict"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { coffer } from "../../../test/support/cli.ts"
import { buildDcap } from "../../../test/support/dcap.ts"
import { buildSnp } from "../../../test/support/snp.ts"
import { formatPem } from "../../der/index.ts"
import { parsePolicy } from "../../policy/index.ts"
import { createProgram } from "../program.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-node-cli-"))
after(() => rmSync(folder, { recursive: true, force: true }))

/** A folder of collateral, and a configuration that names it. */
function node(name: string, type: string, files: Readonly<Record<string, string>>): string {
  const place = join(folder, name)
  mkdirSync(place)
  for (const [file, text] of Object.entries(files)) writeFileSync(join(place, file), text)
  const config = join(folder, `${name}.yaml`)
  writeFileSync(config, `version: 1\nplatform: { type: ${type} }\ncollateral: ${place}\n`)
  return config
}

const snp = buildSnp({ crl: {} })
const [vek, authority] = snp.collateral.certificates
const [crl] = snp.collateral.crls
assert.ok(vek !== undefined && authority !== undefined && crl !== undefined)
const amd = {
  "vcek.pem": formatPem("CERTIFICATE", vek.raw),
  "ask.pem": formatPem("CERTIFICATE", authority.raw),
  "crl.pem": formatPem("X509 CRL", crl.raw),
}

function collateral(config: string, now: number, ...more: readonly string[]) {
  return coffer("node", "collateral", "--config", config, "--now", String(now), ...more)
}

test("collateral: all there and in time; a list that is missing, or stale, is exit 6 and named", async () => {
  const full = node("full", "sev-snp", amd)
  const good = await collateral(full, snp.now)
  assert.equal(good.code, 0, good.err)
  assert.match(good.out.join("\n"), /^current +crl .* ARK-/m)
  assert.doesNotMatch(good.out.join("\n"), /missing/)
  const late = await collateral(full, (crl.nextUpdate ?? 0) + 1)
  assert.equal(late.code, 6)
  assert.match(late.out.join("\n"), /^stale +crl .* ARK-/m)
  const { "crl.pem": _, ...less } = amd
  const lacking = await collateral(node("lacking", "sev-snp", less), snp.now, "--json")
  assert.equal(lacking.code, 6)
  const { missing, stale } = JSON.parse(lacking.out[0] ?? "") as {
    readonly missing: { readonly intel: readonly string[]; readonly amd: readonly string[] }
    readonly stale: number
  }
  assert.deepEqual([missing.intel, missing.amd, stale], [[], ["crl of ARK-"], 0])
})

test("collateral of an Intel machine, and with no machine in mind", async () => {
  const { collateral: intel, now } = buildDcap({ tee: "tdx" })
  const [info] = intel.tcbInfos
  assert.ok(info !== undefined)
  const signature = Buffer.from(info.signature).toString("hex")
  const config = node("intel", "tdx", {
    "tcb.json": `{"tcbInfo":${info.text},"signature":"${signature}"}`,
  })
  const run = (...more: readonly string[]) =>
    coffer("node", "collateral", "--now", String(now), ...more)
  const found = await run("--config", config)
  assert.equal(found.code, 6)
  assert.match(found.out.join("\n"), /missing for intel: qe-identity, crl of Intel SGX Root CA/)
  assert.doesNotMatch(found.out.join("\n"), /missing for amd/)
  const box = join(folder, "box.yaml")
  writeFileSync(box, "version: 1\nplatform: { type: tpm2 }\n")
  const open = await run("--config", box, join(folder, "intel"))
  assert.equal(open.code, 0)
  const forIntel = await run("--config", box, join(folder, "intel"), "--for", "intel")
  assert.equal(forIntel.code, 6)
  const nothing = await run("--config", box)
  assert.equal(nothing.code, 2)
  assert.match(nothing.err, /wanted a folder of collateral, found none/)
})

test("no configuration, no agent: what to do is said", async () => {
  const serve = await coffer("node", "serve", "--config", join(folder, "none.yaml"))
  assert.equal(serve.code, 6)
  assert.match(serve.err, /none\.yaml: no such file/)
  const config = join(folder, "lonely.yaml")
  writeFileSync(config, `version: 1\nplatform: { type: tdx }\nsocket: ${folder}/none.sock\n`)
  const status = await coffer("node", "status", "--config", config)
  assert.equal(status.code, 6)
  assert.match(status.err, /node agent at .*none\.sock: .*\n {2}hint: start it: coffer node serve/)
  const shown = await coffer("node", "serve", "--config", node("bad", "sgx", {}))
  assert.equal(shown.code, 2)
  assert.match(shown.err, /bad\.yaml:2:\d+: platform\.type: wanted insecure-sim or tdx/)
})

test("the platforms of docs/node.md are what a policy takes", () => {
  const [, text = ""] =
    /```yaml\n# platforms of a policy\n([^]*?)```/.exec(readFileSync("docs/node.md", "utf8")) ?? []
  const hash = "aa".repeat(32)
  const policy = parsePolicy(
    `version: 1
name: p
services: { s: { measurements: ["${hash}"], platforms: [box, snp, azure, tdx] } }
platforms:
${text.replaceAll(/^/gm, "  ")}
access: { keys: { k: "${hash}" }, update: { of: [k] } }
`,
    "docs/node.md",
  )
  assert.deepEqual(
    Object.values(policy.platforms).map(({ type }) => type),
    ["tpm2", "sev-snp", "azure", "tdx"],
  )
})

test("every command line of docs/node.md is one, with its options", () => {
  const io = { print: () => undefined, warn: () => undefined } as unknown as Parameters<
    typeof createProgram
  >[0]
  const program = createProgram(io)
  const lines = [
    ...readFileSync("docs/node.md", "utf8").matchAll(/^(?:there: +|here: +)?(coffer .*)$/gm),
  ]
  assert.ok(lines.length >= 7)
  for (const [, line = ""] of lines) {
    const words = line
      .replace(/ +#.*$/, "")
      .split(/ +/)
      .slice(1)
    let command = program
    let at = 0
    for (; at < words.length; at += 1) {
      const next = command.commands.find((one) => one.name() === words[at])
      if (next === undefined) break
      command = next
    }
    assert.ok(at >= 2, line)
    for (const word of words.slice(at).filter((one) => one.startsWith("--")))
      assert.ok(
        command.options.some(({ long }) => long === word),
        `${line}: ${word}`,
      )
  }
})
