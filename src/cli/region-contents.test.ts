import assert from "node:assert/strict"
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { type CliRun, coffer } from "../../test/support/cli.ts"
import { layoutOf } from "../../test/support/image.ts"
import { utf8, utf8OfByteString } from "../bytes/index.ts"
import { contentOfBytes, plainDirectory, TreeBuilder } from "../tree/index.ts"

const program = Buffer.concat([
  Buffer.from("7f454c4602010100000000000000000002003e00", "hex"),
  Buffer.alloc(100, 1),
])
const yaml = `version: 1
name: shop
service: { argv: [/bin/service] }
regions:
  - { path: /model, protection: encrypted, lifetime: ephemeral }
  - { path: /static, protection: authenticated, lifetime: ephemeral }
`

function makeImage(directory: string, model: string): void {
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  const files = { "/model/weights": utf8(model), "/static/logo": utf8("logo") }
  for (const [path, bytes] of Object.entries({ "/bin/service": program, ...files }))
    tree.put(utf8OfByteString(path), {
      kind: "file",
      meta: { ...plainDirectory, mode: path === "/bin/service" ? 0o755 : 0o644 },
      content: contentOfBytes(bytes),
    })
  layoutOf(tree.finish(), directory, {})
}

async function must(...argv: readonly string[]): Promise<CliRun> {
  const done = await coffer(...argv)
  assert.equal(done.code, 0, done.err)
  return done
}

interface Report {
  readonly coverage: readonly {
    readonly class: string
    readonly fileCount: number
    readonly size: number
  }[]
  readonly files: readonly {
    readonly path: string
    readonly class: string
    readonly stored?: number
  }[]
}

test("inspect, report and diff show regions with content of the image", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "regions-cli-"))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const at = (name: string) => join(folder, name)
  writeFileSync(at("coffer.yaml"), yaml)
  const options = ["-f", at("coffer.yaml"), "--keys", at("shop.keys")]
  const [one, two] = [`oci:${at("one")}:1`, `oci:${at("two")}:1`]
  makeImage(at("source"), "first")
  const policy = ["--policy-out", at("policy.yaml"), "--report", at("report.html")]
  const made = await must("protect", `oci:${at("source")}:1`, one, ...options, ...policy)
  assert.equal(statSync(at("shop.keys")).mode & 0o777, 0o600)
  assert.match(made.err, /next: coffer keygen --access/)
  assert.match(
    made.err,
    /next: coffer policy create .*policy.yaml .*--secret image-key=.*shop.keys/,
  )
  assert.match(readFileSync(at("report.html"), "utf8"), /\/model\/weights/)
  await must("policy", "check", at("policy.yaml"))
  makeImage(at("renewed"), "second")
  await must("protect", `oci:${at("renewed")}:1`, two, ...options)

  const report = async (...more: string[]) =>
    JSON.parse((await must("inspect", one, "--json", ...more)).out.join("")) as Report
  const blind = await report()
  const [model] = blind.files.filter(({ path }) => path.startsWith("/model"))
  assert.ok(model?.stored !== undefined && model.stored > 500, "only how large its store is")
  assert.equal(blind.files.find(({ path }) => path === "/static/logo")?.class, "authenticated")
  const seeing = await report("--keys", at("shop.keys"))
  assert.equal(seeing.files.find(({ path }) => path === "/model/weights")?.class, "encrypted")
  assert.deepEqual(
    seeing.coverage.find((row) => row.class === "encrypted"),
    {
      class: "encrypted",
      fileCount: 1,
      size: 5,
    },
  )
  const same = await must("diff", one, two)
  assert.match(same.out.join("\n"), /MrEnclave is the same/)
  assert.match(same.out.join("\n"), /changed {2}\/model: another content/)
  assert.doesNotMatch(same.out.join("\n"), /\/static/)
})

test("a key file that others can read is refused", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "regions-key-"))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  makeImage(join(folder, "source"), "first")
  writeFileSync(join(folder, "coffer.yaml"), yaml)
  writeFileSync(join(folder, "shop.keys"), "00".repeat(32), { mode: 0o644 })
  const options = ["-f", join(folder, "coffer.yaml"), "--keys", join(folder, "shop.keys")]
  const made = await coffer("protect", `oci:${folder}/source:1`, `oci:${folder}/one:1`, ...options)
  assert.equal(made.code, 2)
  assert.match(made.err, /wanted a file that only its owner can read, found mode 0644/)
})

test("--create-policy puts policy and key into a CAS, and writes no key file", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "regions-policy-"))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const at = (name: string) => join(folder, name)
  makeImage(at("source"), "first")
  writeFileSync(at("coffer.yaml"), yaml)
  await must("keygen", "--access", at("owner.pem"))
  const cas = ["--key", at("owner.pem"), "--cas-dir", at("cas")]
  const options = ["-f", at("coffer.yaml"), "--create-policy", ...cas]
  const made = await must("protect", `oci:${at("source")}:1`, `oci:${at("one")}:1`, ...options)
  assert.match(made.out.join("\n"), /^policy {5}shop: revision 1, hash [0-9a-f]{64}$/m)
  assert.match(made.err, /next: coffer run oci:.*:1 --policy shop\/shop/)
  assert.ok(!existsSync("shop.keys") && !existsSync(at("shop.keys")))
  const shown = await must("policy", "show", "shop", ...cas)
  const { document } = JSON.parse(shown.out.join("")) as {
    document: { services: { shop: { regions: Record<string, { key?: string; tag?: string }> } } }
  }
  const { regions } = document.services.shop
  assert.equal(regions["/model"]?.key, "image-key")
  assert.match(regions["/model"].tag ?? "", /^[0-9a-f]{64}$/)
  assert.equal(regions["/static"]?.key, undefined)
})
