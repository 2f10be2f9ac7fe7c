import assert from "node:assert/strict"
import { copyFileSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { after, test } from "node:test"
import { Node, scratch } from "../../../test/support/cas.ts"
import { type CliRun, coffer } from "../../../test/support/cli.ts"
import { openEmbeddedCas } from "../../cas/index.ts"

/** M-of-N owners who never meet: each signs a file on a machine of their own, one submits it. */

const place = scratch()
after(place.remove)
const path = (name: string): string => join(place.dir, name)
const cas = ["--cas-dir", path("cas")]
const mrEnclave = "a".repeat(64)

async function good(...argv: readonly string[]): Promise<CliRun> {
  const run = await coffer(...argv)
  assert.equal(run.code, 0, `${argv.join(" ")}: ${run.err}`)
  return run
}

async function bad(code: number, wanted: RegExp, ...argv: readonly string[]): Promise<void> {
  const run = await coffer(...argv)
  assert.equal(run.code, code, `${argv.join(" ")}: ${run.err}`)
  assert.match(run.err, wanted)
}

const people = ["alice", "bob", "carol", "mallory"]
const keys = new Map<string, string>()
for (const name of people) {
  const { out } = await good("keygen", "--access", path(name), "--json")
  const made = JSON.parse(out.join("")) as { readonly keys: readonly { readonly id: string }[] }
  keys.set(name, made.keys[0]?.id ?? "")
}

function document(extra: string, predecessor = ""): string {
  return `version: 1
name: shop
${predecessor === "" ? "" : `predecessor: "${predecessor}"`}
services:
  web: { measurements: ["${mrEnclave}"], platforms: [dev], volumes: { data: write }, env: { A: "${extra}" } }
platforms: { dev: { type: insecure-sim } }
volumes: { data: {} }
access:
  keys: { alice: "${keys.get("alice")}", bob: "${keys.get("bob")}", carol: "${keys.get("carol")}" }
  update: { of: [alice, bob, carol], need: 2 }
`
}

const as = (name: string): readonly string[] => ["--key", path(name)]

const { hash, casKey } = await (async () => {
  writeFileSync(path("shop.yaml"), document("one"))
  const create = ["policy", "create", path("shop.yaml"), ...as("alice"), ...as("bob"), "--json"]
  const { out } = await good(...create, ...cas)
  const made = JSON.parse(out.join("")) as { readonly hash: string }
  const status = await good("cas", "status", "--store", path("cas"), "--json")
  const { cas: key } = JSON.parse(status.out.join("")) as { readonly cas: string }
  return { hash: made.hash, casKey: key }
})()
writeFileSync(path("shop-2.yaml"), document("two", hash))

/** Written offline by alice: all that she needs is the CAS's key. */
async function proposed(name: string): Promise<string> {
  const out = ["--out", path(name), "--cas-key", casKey]
  await good("policy", "propose", path("shop-2.yaml"), ...out, ...as("alice"))
  return path(name)
}

test("two of three owners sign a file one after the other; less, a stranger, or one of them twice is not enough", async () => {
  const act = await proposed("a.act")
  assert.equal(statSync(act).mode & 0o777, 0o600)
  await bad(5, /access\.update: wanted 2 of alice, bob, carol, found alice/, ...submit(act))
  await good("policy", "sign", act, ...as("alice"))
  const { signatures } = JSON.parse(readFileSync(act, "utf8")) as {
    readonly signatures: readonly unknown[]
  }
  assert.equal(signatures.length, 1)
  await good("policy", "sign", act, ...as("mallory"))
  await bad(5, /access\.update: wanted 2 of alice, bob, carol, found alice/, ...submit(act))
  // A signature that is in the file twice, by hand, is still one person's.
  const twice = JSON.parse(readFileSync(act, "utf8")) as { signatures: unknown[] }
  twice.signatures.push(twice.signatures[0])
  writeFileSync(path("twice.act"), JSON.stringify(twice))
  await bad(5, /found alice/, ...submit(path("twice.act")))
  const shown = await good("policy", "sign", act, "--before", path("shop.yaml"), ...as("carol"))
  const text = shown.out.join("\n")
  assert.match(text, /put-policy shop/)
  assert.match(text, /services\.web\.env\.A: "one" -> "two"/)
  assert.match(text, new RegExp(`signed by {2}${keys.get("alice")} \\(alice\\)`))
  const { out } = await good("policy", "check", path("shop-2.yaml"), "--json")
  const checked = JSON.parse(out.join("")) as { readonly hash: string }
  assert.ok(text.includes(checked.hash))
  assert.match((await good(...submit(act))).out.join(""), /^shop: revision 2/)
  const { out: again } = await good(...submit(act))
  assert.match(again.join(""), /^shop: revision 2/)
})

const submit = (...acts: readonly string[]) => ["policy", "submit", ...acts, ...cas]

test("two copies, each signed apart; a changed document; another document", async () => {
  writeFileSync(path("shop-2.yaml"), document("three", await currentHash()))
  const first = path("b.act")
  const flags = ["--out", first, "--cas-key", casKey]
  const { err } = await good("policy", "propose", path("shop-2.yaml"), ...flags)
  assert.match(err, /coffer policy sign/)
  await bad(2, /wanted signatures, found none/, ...submit(first))
  for (const name of ["bob", "carol"]) {
    copyFileSync(first, path(`b-${name}.act`))
    await good("policy", "sign", path(`b-${name}.act`), ...as(name))
  }
  // Changed after bob signed: nobody can sign it on, nor submit it.
  const changed = readFileSync(path("b-bob.act"), "utf8").replace('"three"', '"evil"')
  writeFileSync(path("changed.act"), changed)
  const late = /act was changed after it was signed/
  await bad(5, late, "policy", "sign", path("changed.act"), ...as("carol"))
  await bad(5, late, ...submit(path("changed.act")))
  // A signature carried over to another act does not count there, and is said.
  const { signatures } = JSON.parse(readFileSync(path("b-bob.act"), "utf8")) as {
    readonly signatures: unknown
  }
  const other = JSON.parse(readFileSync(first, "utf8").replace('"three"', '"evil"')) as object
  writeFileSync(path("moved.act"), JSON.stringify({ ...other, signatures }))
  await bad(5, late, ...submit(path("moved.act")))
  writeFileSync(path("other.act"), JSON.stringify(other))
  await good("policy", "sign", path("other.act"), ...as("alice"))
  await bad(2, /two different acts/, ...submit(path("b-bob.act"), path("other.act")))
  const both = await good(...submit(path("b-bob.act"), path("b-carol.act")))
  assert.match(both.out.join(""), /^shop: revision 3/)
  await bad(2, /wanted an act/, ...submit(path("shop.yaml")))
})

async function currentHash(): Promise<string> {
  const { out } = await good("policy", "show", "shop", ...as("bob"), ...cas)
  return (JSON.parse(out.join("")) as { readonly hash: string }).hash
}

test("a reset that two must want; done once, whatever comes back later", async () => {
  const embedded = await openEmbeddedCas(path("cas"))
  const node = await new Node().prepare(embedded.client)
  const { volumes } = await embedded.client.attest({
    policy: "shop",
    service: "web",
    makeEvidence: (binding) => node.evidence(binding, { mrEnclave }),
  })
  const [grant] = volumes
  assert.ok(grant !== undefined)
  const one = { sequence: 1, tag: "11".repeat(32) }
  const two = { sequence: 2, tag: "22".repeat(32) }
  await embedded.client.moveTag("shop", grant, grant, one)
  await embedded.client.moveTag("shop", grant, one, two)
  await embedded.close()
  const restore = (tag: string, sequence: number, act: string) => {
    const what = ["shop/data", "--to", tag, "--sequence", String(sequence)]
    return ["volume", "restore", ...what, "--propose", path(act), ...as("alice"), ...cas]
  }
  await good(...restore(one.tag, 1, "back.act"))
  await bad(5, /access\.restore: wanted 2 of/, ...submit(path("back.act")))
  const shown = await good("policy", "sign", path("back.act"), ...as("bob"))
  assert.match(shown.out.join("\n"), /back to {4}commit 1, tag 1111/)
  assert.match((await good(...submit(path("back.act")))).out.join(""), /open, commit 1, tag 1111/)
  // They think again, and go forward to commit 2: the first act fits the state once more, and is refused.
  await good(...restore(two.tag, 2, "forth.act"))
  await good("policy", "sign", path("forth.act"), ...as("carol"))
  await good(...submit(path("forth.act")))
  await bad(5, /act: wanted one that was not performed before/, ...submit(path("back.act")))
  const propose = ["volume", "reset", "shop/data", "--yes", "--propose", path("reset.act")]
  await good(...propose, ...as("carol"), ...cas)
  const reset = await good("policy", "sign", path("reset.act"), ...as("alice"))
  assert.match(reset.out.join("\n"), /DESTROYS {3}its contents, commit 2/)
  const done = await good(...submit(path("reset.act")))
  assert.match(done.out.join(""), /^shop\/data\/0: new, commit 0/)
})
