/** Every policy in docs/policies.md is a good one, and every command runs exactly as it is written, in that order. */
import assert from "node:assert/strict"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { after, test } from "node:test"
import { parsePolicy, policyWarnings } from "../src/policy/index.ts"

const blocks = [
  ...readFileSync("docs/policies.md", "utf8").matchAll(/^```(yaml|sh)\n([^]*?)^```$/gm),
].map(([, language = "", body = ""]) => ({ language, body }))

const place = mkdtempSync(join(tmpdir(), "docs-policies-"))
symlinkSync(resolve("coffer"), join(place, "coffer"))
const env = {
  ...process.env,
  PATH: `${place}:${process.env["PATH"] ?? ""}`,
  XDG_DATA_HOME: join(place, "data"),
}
const running: ChildProcess[] = []
after(() => {
  for (const child of running) child.kill("SIGKILL")
  rmSync(place, { recursive: true, force: true })
})

test("every policy in docs/policies.md is a good one", () => {
  const policies = blocks.filter(({ language }) => language === "yaml")
  assert.ok(policies.length >= 4)
  for (const { body } of policies)
    assert.ok(policyWarnings(parsePolicy(body, "docs/policies.md")).length <= 1)
})

/** What the reader does with a document: save it under its name, with the keys of people who exist. */
function saved(body: string): string {
  const name = /^# (\S+\.yaml)$/m.exec(body)?.[1] ?? "unnamed.yaml"
  return `cat > ${name} <<'DOCUMENT'
${body}DOCUMENT
fill ${name}
`
}

const prelude = `
public() { openssl pkey -in $1 -pubout -outform DER | tail -c 32 | od -An -tx1 | tr -d ' \\n'; }
fill() {
  sed -i "s/b\\{64\\}/$(public alice.pem)/" $1
  [ -e bob.pem ] || openssl genpkey -algorithm ed25519 -out other.pem
  sed -i "s/e\\{64\\}/$(public $([ -e bob.pem ] && echo bob.pem || echo other.pem))/" $1
}
`

test("every command in docs/policies.md works", () => {
  const script: string[] = [prelude]
  let waiting = ""
  for (const { language, body } of blocks) {
    // signer.yaml names bob, whose key the next block makes.
    if (language === "yaml") waiting = saved(body)
    else if (body.startsWith("coffer keygen --access bob.pem")) {
      const [keygen = "", ...rest] = body.split("\n")
      script.push(keygen, waiting, rest.join("\n"))
      waiting = ""
    } else {
      script.push(waiting, body)
      waiting = ""
    }
  }
  const run = spawnSync("bash", ["-euo", "pipefail", "-c", script.join("\n")], {
    cwd: place,
    encoding: "utf8",
    env,
    timeout: 300_000,
  })
  assert.equal(run.status, 0, `${run.stdout}${run.stderr}`)
  assert.match(run.stdout, /^shop: revision 2/m)
  assert.match(run.stdout, /^signed: revision 2/m)
  assert.match(
    run.stdout,
    /\+ +services\.web\.signer\.minSvn|services\.web\.signer\.minSvn: 4 -> 5/,
  )
})

test("a CAS on an empty folder says what to do next, and that works", async () => {
  const listen = ["--listen", "127.0.0.1:0", "--page", "none"]
  const cas = spawn(resolve("coffer"), ["cas", "serve", "--store", join(place, "own"), ...listen], {
    env,
    stdio: ["ignore", "pipe", "pipe"],
  })
  running.push(cas)
  let said = ""
  await new Promise<void>((done) => {
    cas.stderr.on("data", (data: Buffer) => {
      said += data.toString()
      if (said.includes("5. coffer run")) done()
    })
    cas.once("exit", () => done())
  })
  const steps = [...said.matchAll(/^ {2}\d\. (coffer .*?)(?: {2,}.*)?$/gm)].map(
    ([, step = ""]) => step,
  )
  assert.equal(steps.length, 5, said)
  const [keygen = "", protect = "", check = "", create = ""] = steps
  assert.match(protect, /--policy-out shop\.yaml$/)
  const document = saved(blocks.find(({ language }) => language === "yaml")?.body ?? "")
  const script = `${prelude}
mkdir new; cd new
${keygen}
${document}
${check}
${create}`
  const run = spawnSync("bash", ["-euo", "pipefail", "-c", script], {
    cwd: place,
    encoding: "utf8",
    env,
    timeout: 120_000,
  })
  assert.equal(run.status, 0, `${run.stdout}${run.stderr}`)
  assert.match(run.stdout, /^shop: revision 1/m)
  cas.kill("SIGTERM")
  assert.equal(await new Promise((done) => cas.once("exit", done)), 0)
})
