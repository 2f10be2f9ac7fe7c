/** One generic image, run by two stakeholders who do not trust each other, each with a policy of their own. */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { type CliRun, coffer } from "../support/cli.ts"
import type { Done } from "../support/podman.ts"
import { makeTinyImage } from "../support/tiny-image.ts"

const root = new URL("../..", import.meta.url).pathname
let folder = ""
let mrEnclave = ""
let tag = ""
const owners = new Map<string, string>()

const script = `
  cat /app/model/weights
  echo "key $API_KEY"
  echo order >> /data/orders
  echo "orders $(wc -l < /data/orders)"
  if echo entry 2>/dev/null >> /audit/log; then echo "audit written"; else echo "audit refused"; fi
  echo "audit $(wc -l < /audit/log)"`
const yaml = `version: 1
name: generic
service: { argv: ${JSON.stringify(["/bin/sh", "-c", script])} }
env: { set: { PATH: /bin } }
regions:
  - { path: /app/model, protection: encrypted, lifetime: ephemeral }
  - { path: /data, protection: encrypted, lifetime: persistent, volume: data }
  - { path: /audit, protection: authenticated, lifetime: persistent, volume: audit }
`

function publisherPolicy(): string {
  return `version: 1
name: publisher
services: {}
platforms: { here: { type: insecure-sim } }
secrets:
  image-key: { kind: given, export: [acme, beta] }
access: { keys: { owner: "${owners.get("publisher") ?? ""}" }, update: { of: [owner] } }
`
}

function stakeholderPolicy(name: string): string {
  return `version: 1
name: ${name}
services:
  web:
    measurements: ["${mrEnclave}"]
    platforms: [here]
    env: { API_KEY: "$$secret:api$$" }
    volumes: { data: write, audit: write }
    regions: { /app/model: { tag: "${tag}", key: image-key } }
  auditor:
    measurements: ["${mrEnclave}"]
    platforms: [here]
    volumes: { data: write, audit: read }
    regions: { /app/model: { tag: "${tag}", key: image-key } }
platforms: { here: { type: insecure-sim } }
volumes: { data: { instances: 2 }, audit: { protection: authenticated, instances: 2 } }
secrets:
  api: { kind: ascii, size: 12 }
  image-key: { kind: import, policy: publisher, secret: image-key }
access: { keys: { owner: "${owners.get(name) ?? ""}" }, update: { of: [owner] } }
`
}

const at = (...names: readonly string[]) => join(folder, ...names)

async function must(...argv: readonly string[]): Promise<CliRun> {
  const done = await coffer(...argv)
  assert.equal(done.code, 0, done.err)
  return done
}

async function makeOwner(name: string): Promise<void> {
  const { out } = await must("keygen", "--access", at(`${name}.pem`))
  owners.set(name, /[0-9a-f]{64}/.exec(out.join(""))?.[0] ?? "")
}

async function createPolicy(name: string, text: string, ...more: string[]): Promise<void> {
  writeFileSync(at(`${name}.policy`), text)
  const cas = ["--cas-dir", at("data", "coffer", "cas"), "--key", at(`${name}.pem`)]
  await must("policy", "create", at(`${name}.policy`), ...cas, ...more)
}

/** `home`: where the volumes' directories are. */
function run(policy: string, home: string, ...more: readonly string[]): Done {
  mkdirSync(at(home), { recursive: true })
  const volumes = ["--volume", `data=${at(home, "data")}`, "--volume", `audit=${at(home, "audit")}`]
  const words = ["run", `oci:${folder}/generic:1`, "--policy", policy, ...volumes, ...more]
  return spawnSync(join(root, "coffer"), words, {
    encoding: "utf8",
    env: { ...process.env, COFFER_FROM_SOURCE: "1", XDG_DATA_HOME: at("data") },
    timeout: 60_000,
  })
}

function works(done: Done): string {
  assert.equal(done.status, 0, done.stderr)
  assert.match(done.stdout, /^the weights$/m)
  return done.stdout
}

function isRefused(done: Done, sentence: RegExp): void {
  assert.deepEqual([done.status, done.stdout], [125, ""], done.stderr)
  assert.match(done.stderr, sentence)
}

function lacks(): string | false {
  if (process.getuid?.() !== 0) return "mounts need root"
  if (!existsSync("/dev/fuse")) return "no /dev/fuse here"
  return spawnSync("runc", ["--version"]).status === 0 ? false : "no runc here"
}

const keyIn = (text: string) => /^key (\S{12})$/m.exec(text)?.[1]

void describe("one image, two stakeholders", { skip: lacks() }, () => {
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "coffer-stakeholders-"))
    makeTinyImage(at("source"), { "/app/model/weights": "the weights\n" })
    writeFileSync(at("coffer.yaml"), yaml)
    const options = ["-f", at("coffer.yaml"), "--keys", at("generic.keys"), "--json"]
    const { out } = await must(
      "protect",
      `oci:${at("source")}:1`,
      `oci:${at("generic")}:1`,
      ...options,
    )
    const made = JSON.parse(out.join("")) as { mrEnclave: string; regions: { tag: string }[] }
    mrEnclave = made.mrEnclave
    tag = made.regions[0]?.tag ?? ""
    for (const name of ["publisher", "acme", "beta", "eve"]) await makeOwner(name)
    for (const name of ["acme", "beta", "eve"]) await createPolicy(name, stakeholderPolicy(name))
    const value = ["--secret", `image-key=${at("generic.keys")}`]
    await createPolicy("publisher", publisherPolicy(), ...value)
  })
  after(() => rmSync(folder, { recursive: true, force: true }))

  test("each has keys, secrets and data of their own, and finds them again", ownKeys)
  test("neither can open the other's volume", othersVolume)
  test("whom the publisher's policy does not name gets nothing", notNamed)
  test(
    "a service that may only read an authenticated volume verifies it, and cannot change it",
    readsOnly,
  )
  test(
    "an emptied volume is refused, with three remedies; another instance has one of its own",
    emptied,
  )
  test("the reset that the message names works, when the owner says so", reset)
})

function ownKeys(): void {
  const acme = works(run("acme/web", "acme"))
  const beta = works(run("beta/web", "beta"))
  for (const text of [acme, beta]) assert.match(text, /^orders 1$/m)
  assert.ok(keyIn(acme) !== undefined && keyIn(acme) !== keyIn(beta))
  const again = works(run("acme/web", "acme"))
  assert.match(again, /^orders 2$/m)
  assert.equal(keyIn(again), keyIn(acme))
  assert.match(works(run("beta/web", "beta")), /^orders 2$/m)
}

function othersVolume(): void {
  cpSync(at("acme"), at("stolen"), { recursive: true })
  isRefused(run("beta/web", "stolen"), /wanted volume [0-9a-f]{64}, found [0-9a-f]{64}/)
  assert.match(works(run("acme/web", "acme")), /^orders 3$/m)
}

function notNamed(): void {
  isRefused(run("eve/web", "eve"), /wanted policy publisher to export image-key to eve/)
  assert.deepEqual(readdirSync(at("eve")), [])
}

function readsOnly(): void {
  const written = works(run("acme/web", "acme"))
  const [, entries] = /^audit (\d+)$/m.exec(written) ?? []
  const reader = works(run("acme/auditor", "acme"))
  assert.match(reader, /^audit refused$/m)
  assert.match(reader, new RegExp(`^audit ${entries}$`, "m"))
  const older = at("acme-older")
  cpSync(at("acme", "audit"), older, { recursive: true })
  works(run("acme/web", "acme"))
  rmSync(at("acme", "audit"), { recursive: true })
  cpSync(older, at("acme", "audit"), { recursive: true })
  isRefused(
    run("acme/auditor", "acme"),
    /volume is older|older than its anchor|rollback|wanted commit/,
  )
}

function emptied(): void {
  works(run("beta/web", "beta"))
  rmSync(at("beta", "data"), { recursive: true })
  mkdirSync(at("beta", "data"))
  const refused = run("beta/web", "beta")
  isRefused(refused, /volume beta\/data: .*wanted the volume that CAS.* knows, found none/)
  const [hint = ""] = /hint: .*/.exec(refused.stderr) ?? []
  assert.match(hint, /mount the directory that holds the volume/)
  assert.match(hint, /coffer volume reset beta\/data --yes --key KEY\.pem/)
  assert.match(hint, /instances: N .*--instance I/)
  assert.match(works(run("beta/web", "beta-replica", "--instance", "1")), /^orders 1$/m)
  isRefused(run("beta/web", "beta-third", "--instance", "2"), /wanted an instance from 0 to 1/)
}

async function reset(): Promise<void> {
  const words = ["volume", "reset", "beta/data", "--cas-dir", at("data", "coffer", "cas")]
  const stranger = await coffer(...words, "--yes", "--key", at("acme.pem"))
  assert.equal(stranger.code, 5, stranger.err)
  await must(...words, "--yes", "--key", at("beta.pem"))
  assert.match(works(run("beta/web", "beta")), /^orders 1$/m)
}
