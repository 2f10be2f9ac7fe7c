import assert from "node:assert/strict"
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, test } from "node:test"
import { coffer } from "../support/cli.ts"
import { layoutOf } from "../support/image.ts"
import { directory, file } from "../support/sealed.ts"

// What a person does with a protected image: measure, inspect, sign, compare it, and read the report.

const folder = mkdtempSync(join(tmpdir(), "coffer-images-"))
after(() => rmSync(folder, { recursive: true, force: true }))
const at = (name: string) => join(folder, name)

const hostileName = `<img src=x onerror=alert(1)>&"'`

function image(name: string, code: string): string {
  const tree = directory({
    app: directory({ main: file(code), [hostileName]: file("x") }),
    data: directory({ tool: file("#!/bin/sh\n") }),
    etc: directory({ passwd: file("root:x:0:0:::\n") }),
  })
  return layoutOf(tree, at(name), { Entrypoint: ["/app/main"] })
}

async function run(...argv: readonly string[]): Promise<string> {
  const { code, out, err } = await coffer(...argv)
  assert.equal(code, 0, `${argv.join(" ")}: ${err}`)
  return out.join("\n")
}

/** One byte in the middle of the layer. */
function flipLargest(blobs: string): void {
  const sizes = readdirSync(blobs).map((name) => ({ name, size: statSync(join(blobs, name)).size }))
  const name = sizes.toSorted((a, b) => b.size - a.size)[0]?.name ?? ""
  const bytes = readFileSync(join(blobs, name))
  const middle = Math.floor(bytes.length / 2)
  bytes[middle] = (bytes[middle] ?? 0) ^ 1
  writeFileSync(join(blobs, name), bytes)
}

let mrEnclave = ""

before(async () => {
  writeFileSync(
    at("coffer.yaml"),
    `version: 1
name: shop
service: { debug: true }
regions:
  - { path: /data, protection: encrypted, lifetime: persistent, seed: image, exec: true }
  - { path: /srv/in, protection: none, source: host, format: directory }
`,
  )
  for (const [name, code] of Object.entries({ one: "#!/app/main\n1", two: "#!/app/main\n2" })) {
    const beside = ["--policy-out", at(`${name}.yaml`), "--report", at(`${name}.html`)]
    const to = `oci:${at(`${name}-protected`)}:1`
    const made = await run(
      "protect",
      image(name, code),
      to,
      "-f",
      at("coffer.yaml"),
      ...beside,
      "--json",
    )
    if (name === "one") mrEnclave = (JSON.parse(made) as { mrEnclave: string }).mrEnclave
  }
})

test("measure, and sign in place, which leaves MrEnclave as it is", async () => {
  const reference = `oci:${at("one-protected")}:1`
  assert.equal(await run("measure", reference), mrEnclave)
  await run("keygen", "--sign", at("key.pem"))
  assert.match(await run("sign", reference, "--key", at("key.pem"), "--isv-svn", "4"), /SVN 4/)
  assert.equal(await run("measure", `oci:${at("one-protected")}`), mrEnclave)
  assert.match(await run("inspect", reference), /MrSigner [0-9a-f]{64}, product 0, SVN 4/)
})

test("diff of two images names the file that differs", async () => {
  const text = await run("diff", `oci:${at("one-protected")}:1`, `oci:${at("two-protected")}:1`)
  assert.match(text, /changed {2}\/app\/main: content/)
})

test("inspect: what needs a look comes first, coverage is in bytes, text and JSON have the same facts", async () => {
  const reference = `oci:${at("two-protected")}:1`
  const report = JSON.parse(await run("inspect", reference, "--json")) as {
    readonly warnings: readonly string[]
    readonly coverage: readonly {
      readonly class: string
      readonly size: number
      readonly fileCount: number
    }[]
    readonly files: readonly { readonly path: string; readonly class: string }[]
  }
  const [program = "", exec = "", ...others] = report.warnings
  assert.equal(program, "an executable file is not measured: /data/tool")
  assert.match(exec, /^\/data: programs in it may run/)
  assert.match(others.join("\n"), /debug: [\s\S]*\/srv\/in is the host's/)
  const encrypted = report.coverage.find((found) => found.class === "encrypted")
  assert.deepEqual(encrypted, { class: "encrypted", fileCount: 1, size: 10 })
  assert.equal(report.files[0]?.class, "none")
  const text = await run("inspect", reference)
  for (const warning of report.warnings) assert.ok(text.includes(`Warning: ${warning}`), warning)
  assert.match(text, /encrypted +1 files +10 bytes/)
})

test("the page needs nothing from outside, lets nothing run, and escapes the names in the image", async () => {
  await run("inspect", `oci:${at("two-protected")}:1`, "--html", at("again.html"))
  const page = readFileSync(at("again.html"), "utf8")
  assert.equal(page, readFileSync(at("two.html"), "utf8"), "protect --report is inspect --html")
  assert.match(page, /Content-Security-Policy" content="default-src 'none'; style-src 'sha256-/)
  assert.doesNotMatch(page, /<script|<img|<link|https?:|\bon[a-z]+="|style="/)
  assert.ok(page.includes("&lt;img src=x onerror=alert(1)&gt;&amp;&quot;&#39;"))
  assert.ok(page.indexOf("Look at these first") < page.indexOf("The root filesystem by protection"))
})

test("the policy is a good one", async () => {
  assert.match(await run("policy", "check", at("one.yaml")), /a good policy/)
  assert.ok(readFileSync(at("one.yaml"), "utf8").includes(mrEnclave))
})

test("a flipped byte in the layer is an integrity error; what is no image is said so", async () => {
  flipLargest(join(at("two-protected"), "blobs/sha256"))
  assert.equal((await coffer("measure", `oci:${at("two-protected")}:1`)).code, 3)
  const plain = await coffer("inspect", `oci:${at("one")}:1`)
  assert.equal(plain.code, 2)
  assert.match(plain.err, /wanted a protected image/)
  assert.equal((await coffer("inspect", at("nothing"))).code, 6)
  assert.equal((await coffer("inspect", "oci:")).code, 2)
})
