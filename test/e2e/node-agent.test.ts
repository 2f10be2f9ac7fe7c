/** A machine with a TPM and a CAS elsewhere, by the command line alone, as docs/node.md describes it. */
import assert from "node:assert/strict"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { after, before, describe, test } from "node:test"
import { noSwtpm, SoftwareTpm } from "../support/swtpm.ts"
import { makeTinyService, volumeRegion } from "../support/tiny-service.ts"

const coffer = resolve("coffer")
let folder = ""
let environment: NodeJS.ProcessEnv = {}
const started: ChildProcess[] = []

function lacks(): string | false {
  if (process.getuid?.() !== 0) return "needs root"
  if (!existsSync("/dev/fuse")) return "no /dev/fuse here"
  if (spawnSync("runc", ["--version"]).status !== 0) return "no runc here"
  return noSwtpm
}

/** A command line; no word of it has a blank. */
function run(line: string) {
  return spawnSync(coffer, line.split(" "), { encoding: "utf8", env: environment, timeout: 90_000 })
}

function ok(line: string): string {
  const { status, stdout, stderr } = run(line)
  assert.equal(status, 0, `${line}: ${stdout}${stderr}`)
  return stdout.trim()
}

/** Starts a command that serves, and waits for the line that says so. */
async function serve(line: string, ready: RegExp): Promise<RegExpExecArray> {
  const child = spawn(coffer, line.split(" "), {
    env: environment,
    stdio: ["ignore", "pipe", "pipe"],
  })
  started.push(child)
  let said = ""
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (chunk: string) => (said += chunk))
  for (;;) {
    const match = ready.exec(said)
    if (match !== null) return match
    const [ended] = await Promise.race([
      once(child.stdout, "data").then(() => [undefined]),
      once(child, "exit") as Promise<[number | null]>,
    ])
    assert.ok(ended === undefined, `${line}: ${said}`)
  }
}

async function stop(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, "exit")
  child.kill("SIGTERM")
  await ended
}

const script =
  'n=0; [ -e /data/n ] && n=$(cat /data/n); n=$((n+1)); echo $n > /data/n; echo "run $n, token $TOKEN"'

/** What the machine of a policy is: an enrolled key and the values of some registers. */
function policyOf(facts: {
  readonly mrEnclave: string
  readonly admin: string
  readonly ak: string
  readonly pcr7: string
}): string {
  return `version: 1
name: shop
services:
  web:
    measurements: ["${facts.mrEnclave}"]
    platforms: [box]
    env: { TOKEN: "$$secret:token$$" }
    volumes: { data: write }
platforms:
  box: { type: tpm2, attestationKeys: ["${facts.ak}"], pcrs: { "7": ["${facts.pcr7}"] } }
volumes: { data: {} }
secrets: { token: { kind: ascii, size: 20 } }
access: { keys: { alice: "${facts.admin}" }, update: { of: [alice] } }
`
}

let tpm: SoftwareTpm
let casUrl = ""
let casKey = ""
let config = ""
let service = ""

function start() {
  return run(
    `run ${service} --node-config ${config} --policy shop/web --volume data=${folder}/volume`,
  )
}

function agent() {
  return serve(
    `node serve --config ${config} --state-dir ${folder}/agent`,
    /ready (\S+), platform (\S+), key ([0-9a-f]{64})\n/,
  )
}

async function makeMachine(): Promise<void> {
  folder = mkdtempSync(join(tmpdir(), "coffer-node-e2e-"))
  environment = {
    PATH: process.env["PATH"],
    HOME: folder,
    COFFER_FROM_SOURCE: "1",
    XDG_DATA_HOME: join(folder, "data"),
  }
  mkdirSync(join(folder, "agent"), { mode: 0o700 })
  mkdirSync(join(folder, "volume"))
  tpm = await new SoftwareTpm().start()
  const serveCas = `cas serve --store ${folder}/cas --listen 127.0.0.1:0 --page none --quiet`
  ;[, casUrl = "", casKey = ""] = await serve(serveCas, /CAS at (\S+), key ([0-9a-f]{64})\n/)
  config = join(folder, "node.yaml")
  writeFileSync(
    config,
    `version: 1
platform: { type: tpm2, device: "${tpm.address}", pcrs: [7, 15] }
cas: { url: "${casUrl}", key: "${casKey}" }
socket: ${folder}/agent/node.sock
`,
  )
}

function makePolicy(mrEnclave: string): void {
  const [admin = ""] = /[0-9a-f]{64}/.exec(ok(`keygen --access ${folder}/alice.pem`)) ?? []
  const ak = ok(`attest ak --tpm ${tpm.address}`)
  const facts = { mrEnclave, admin, ak, pcr7: "00".repeat(32) }
  writeFileSync(join(folder, "shop.yaml"), policyOf(facts))
  const key = `--key ${folder}/alice.pem`
  ok(`policy create ${folder}/shop.yaml ${key} --cas ${casUrl} --cas-key ${casKey}`)
}

async function putBack(): Promise<void> {
  const [cas] = started
  const store = join(folder, "cas")
  const port = new URL(casUrl).port
  const again = async (copy?: string) => {
    await stop(started.findLast((child) => child.spawnargs.includes("cas")))
    if (copy !== undefined) {
      rmSync(store, { recursive: true })
      cpSync(join(folder, copy), store, { recursive: true })
    }
    const line = `cas serve --store ${store} --listen 127.0.0.1:${port} --page none --quiet`
    await serve(line, /CAS at \S+, key [0-9a-f]{64}\n/)
  }
  await stop(cas)
  cpSync(store, join(folder, "older"), { recursive: true })
  await again()
  assert.match(start().stdout, /^run 3/)
  await stop(started.at(-1))
  cpSync(store, join(folder, "newest"), { recursive: true })
  await again("older")
  const { status, stdout, stderr } = start()
  assert.deepEqual([status, stdout], [125, ""])
  assert.match(stderr, /the CAS is behind what it has signed: wanted entry \d+/)
  // After a reboot the machine does not know: the volume does.
  rmSync(`/run/coffer/heads/${casKey}.json`)
  const rebooted = start()
  assert.deepEqual([rebooted.status, rebooted.stdout], [125, ""])
  assert.match(rebooted.stderr, /the CAS is behind what it has signed: wanted entry \d+/)
  await again("newest")
  assert.match(start().stdout, /^run 4/)
}

void describe("a machine with a TPM, a node agent, and a CAS elsewhere", { skip: lacks() }, () => {
  before(async () => {
    await makeMachine()
    const made = makeTinyService(join(folder, "image"), script, {
      name: "shop",
      regions: [volumeRegion("data")],
    })
    service = made.sealed
    makePolicy(made.mrEnclave)
  })

  after(async () => {
    for (const child of started) await stop(child)
    await tpm.stop()
    rmSync(`/run/coffer/heads/${casKey}.json`, { force: true })
    rmSync(folder, { recursive: true, force: true })
  })

  test("without its agent the machine gets nothing, and the sentence says what to do", () => {
    const { status, stdout, stderr } = start()
    assert.deepEqual([status, stdout], [125, ""])
    assert.match(stderr, /node agent at .*node\.sock: .*\n {2}hint: start it: coffer node serve/)
  })

  test("with it the service has its secret and its volume, twice", async () => {
    const [, , platform] = await agent()
    assert.equal(platform, "tpm2")
    const first = start()
    assert.equal(first.status, 0, first.stderr)
    assert.match(first.stdout, /^run 1, token \S{20}\n$/)
    assert.match(first.stderr, /platform tpm2/)
    assert.equal(start().stdout, first.stdout.replace("run 1", "run 2"))
    const lines = readFileSync(join(folder, "cas", "cas.db-wal"), "latin1")
    assert.match(lines, /"kind":"lease-released"/)
    const status = ok(`node status --config ${config}`)
    assert.match(status, /^platform {2}tpm2\n/)
    assert.equal(status.match(/^measured /gm)?.length, 1, "once, however often it starts")
  })

  test("the CAS's key is the configuration's: another CAS at the address gets no evidence", () => {
    const text = readFileSync(config, "utf8")
    writeFileSync(config, text.replace(casKey, "ab".repeat(32)))
    const { status, stderr } = start()
    writeFileSync(config, text)
    assert.equal(status, 125)
    assert.match(stderr, /CAS/)
  })

  test("a CAS that was put back to an older copy gives nothing", putBack)

  test("a register that moved is refused, with its name and both values", async () => {
    await stop(started.find((child) => child.spawnargs.includes("node")))
    const moved = spawnSync("tpm2_pcrextend", ["7:sha256=" + "11".repeat(32)], {
      env: { ...process.env, TPM2TOOLS_TCTI: tpm.tcti },
      encoding: "utf8",
    })
    assert.equal(moved.status, 0, moved.stderr)
    await agent()
    const { status, stdout, stderr } = start()
    assert.deepEqual([status, stdout], [125, ""])
    assert.match(stderr, /platforms\.box\.pcrs\.7: wanted 0{64}, found [0-9a-f]{64}/)
  })
})
