import assert from "node:assert/strict"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { after, test } from "node:test"
import { Command } from "commander"
import { Node, scratch } from "../../../test/support/cas.ts"
import { openEmbeddedCas } from "../../cas/index.ts"
import { exitCodeOf } from "../../errors.ts"
import type { Io } from "../io.ts"
import { casCommand } from "./cas.ts"
import { keygenCommand } from "./keygen.ts"
import { policyCommand } from "./policy.ts"
import { volumeCasCommands } from "./volume-cas.ts"

const place = scratch()
after(place.remove)

interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

async function coffer(...argv: readonly string[]): Promise<Ran> {
  const out: string[] = []
  const err: string[] = []
  const io: Io = {
    env: { XDG_DATA_HOME: join(place.dir, "share") },
    terminal: false,
    columns: 80,
    exitCode: 0,
    print: (line) => out.push(line),
    write: () => undefined,
    warn: (line) => err.push(line),
    warnRaw: () => undefined,
  }
  const program = new Command()
    .exitOverride()
    .addCommand(casCommand(io))
    .addCommand(policyCommand(io))
    .addCommand(keygenCommand(io))
  for (const command of volumeCasCommands(io)) program.addCommand(command)
  let code = 0
  try {
    await program.parseAsync([...argv], { from: "user" })
    code = io.exitCode
  } catch (error) {
    code = exitCodeOf(error)
    err.push(String(error))
  }
  return { code, out: out.join("\n"), err: err.join("\n") }
}

function file(name: string, text?: string): string {
  const path = join(place.dir, name)
  if (text !== undefined) writeFileSync(path, text)
  return path
}

function shopPolicy(alice: string): string {
  return `version: 1
name: shop
services:
  web:
    measurements: ["${"a".repeat(64)}"]
    platforms: [dev]
    env: { KEY: $$secret:key$$ }
    volumes: { data: write }
platforms: { dev: { type: insecure-sim } }
volumes: { data: {} }
secrets: { key: { kind: given } }
access: { keys: { alice: "${alice}" }, update: { of: [alice] } }
`
}

test("from nothing to a policy, a backup and a restored CAS", async () => {
  const init = await coffer("cas", "init")
  assert.match(init.out, /^[0-9a-f]{64}$/)
  assert.equal((await coffer("cas", "init")).out, init.out)
  const made = await coffer("keygen", "--access", file("alice.pem"), "--json")
  const { keys } = JSON.parse(made.out) as { readonly keys: readonly { readonly id: string }[] }
  const policy = file("shop.yaml", shopPolicy(keys[0]?.id ?? ""))
  assert.match((await coffer("policy", "check", policy)).err, /insecure-sim proves nothing/)
  const yes = await coffer("policy", "check", policy, "--simulate", "service=web,volume=data:write")
  assert.equal(
    `${yes.code} ${yes.out}`,
    "0 yes: web of shop, on platform dev, which is insecure-sim and proves nothing",
  )
  const no = await coffer("policy", "check", policy, "--simulate", "service=web,mrenclave=bb")
  assert.equal(no.code, 5)
  assert.equal(no.out, `no: services.web.measurements: wanted ${"a".repeat(64)}, found bb`)
  const key = ["--key", file("alice.pem")]
  const without = await coffer("policy", "create", policy, ...key)
  assert.equal(without.code, 2)
  assert.match(without.err, /secrets\.key: wanted its value/)
  const created = await coffer(
    "policy",
    "create",
    policy,
    ...key,
    "--secret",
    `key=${file("value", "hunter2")}`,
  )
  assert.match(created.out, /^shop: revision 1, hash [0-9a-f]{64}$/)
  assert.match((await coffer("policy", "list", ...key)).out, /^shop {2}revision 1/)
  const shown = await coffer("policy", "show", "shop", ...key)
  assert.ok(
    shown.code === 0 &&
      !shown.out.includes("hunter2") &&
      !shown.out.includes(Buffer.from("hunter2").toString("base64")),
  )
  assert.equal(
    (await coffer("policy", "create", policy, ...key, "--secret", `key=${file("value")}`)).code,
    5,
  )
  assert.match((await coffer("policy", "diff", policy, policy)).out, /no difference/)
  assert.equal((await coffer("cas", "audit", "verify")).code, 0)
  assert.match((await coffer("cas", "status")).out, new RegExp(`key ${init.out}`))
  assert.equal((await coffer("cas", "backup", file("backup"))).code, 0)
  assert.ok(!readFileSync(file("backup"), "utf8").includes("hunter2"))
  const master = ["--master-key", join(place.dir, "share", "coffer", "cas", "master.key")]
  const restored = await coffer(
    "cas",
    "restore",
    file("backup"),
    "--store",
    file("again"),
    ...master,
  )
  assert.equal(restored.code, 0, restored.err)
  assert.match(
    (await coffer("cas", "audit", "show", "--store", file("again"), ...master)).out,
    /cas-restored/,
  )
  const wrong = await coffer(
    "cas",
    "status",
    "--store",
    file("again"),
    "--master-key",
    file("wrong.key", `${"00".repeat(32)}\n`),
  )
  assert.equal(wrong.code, 3)
  const cut = file("cut", readFileSync(file("backup"), "utf8").slice(0, -90))
  assert.equal((await coffer("cas", "restore", cut, "--store", file("third"), ...master)).code, 3)
})

test("what is missing is said with what to do", async () => {
  const unpinned = await coffer(
    "policy",
    "show",
    "shop",
    "--cas",
    "https://127.0.0.1:1",
    "--key",
    file("alice.pem"),
  )
  assert.equal(unpinned.code, 2)
  assert.match(unpinned.err, /--cas-key: wanted 64 hex digits/)
  assert.equal((await coffer("policy", "show", "shop")).code, 2)
  const unused = await coffer("reset", "shop/data", "--yes", "--key", file("alice.pem"))
  assert.equal(unused.code, 6)
  assert.match(unused.err, /found no shop\/data\/0/)
  const bad = ["--to", "zz", "--sequence", "1", "--key", file("alice.pem")]
  assert.equal((await coffer("restore", "shop/data", ...bad)).code, 2)
  assert.equal((await coffer("policy", "check", file("absent.yaml"))).code, 6)
})

test("a volume is restored and reset at the CAS by who may", async () => {
  const { client, close } = await volumeInUse()
  await close()
  const key = ["--key", file("alice.pem")]
  const to = ["--to", "11".repeat(32), "--sequence", "1"]
  const restored = await coffer("restore", "shop/data", ...to, ...key)
  assert.match(restored.out, /^shop\/data\/0: open, commit 1, tag 1111/)
  assert.equal((await coffer("reset", "shop/data", ...key)).code, 2)
  await coffer("keygen", "--access", file("mallory.pem"))
  const stranger = await coffer("reset", "shop/data", "--yes", "--key", file("mallory.pem"))
  assert.equal(stranger.code, 5)
  const reset = await coffer("reset", "shop/data/0", "--yes", ...key)
  assert.match(reset.out, /^shop\/data\/0: new, commit 0/)
  assert.ok(client.seen !== undefined)
})

/** The volume `data` of the policy of the first test, after two commits. */
async function volumeInUse() {
  const embedded = await openEmbeddedCas(join(place.dir, "share", "coffer", "cas"))
  const { client } = embedded
  const node = await new Node().prepare(client)
  const { volumes } = await client.attest({
    policy: "shop",
    service: "web",
    makeEvidence: (binding) => node.evidence(binding, { mrEnclave: "a".repeat(64) }),
  })
  const [grant] = volumes
  assert.ok(grant !== undefined)
  const one = { sequence: 1, tag: "11".repeat(32) }
  await client.moveTag("shop", grant, grant, one)
  await client.moveTag("shop", grant, one, { sequence: 2, tag: "22".repeat(32) })
  return { client, close: async () => await embedded.close() }
}
