/** The bundle is what users run, and its libraries are read at their first use, in ways that the sources do not have. */
import assert from "node:assert/strict"
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { get } from "node:https"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"

const root = join(import.meta.dirname, "..")
const flags = ["--disable-warning=ExperimentalWarning"]
const pageUrl = /Page and metrics: (https:\S+)\n/
let folder = ""
const at = (...names: readonly string[]) => join(folder, ...names)

function coffer(...args: readonly string[]) {
  const words = [...flags, at("dist", "main.js"), ...args]
  return spawnSync(process.execPath, words, { encoding: "utf8", timeout: 60_000 })
}

/** Resolves with what it has written once that stands in it. */
async function said(output: NodeJS.ReadableStream, wanted: RegExp): Promise<string> {
  let text = ""
  for await (const piece of output) {
    text += String(piece)
    if (wanted.test(text)) break
  }
  return text
}

async function statusOf(url: string): Promise<number | undefined> {
  const [response] = (await once(get(url, { rejectUnauthorized: false }), "response")) as [
    { statusCode?: number; resume(): void },
  ]
  response.resume()
  return response.statusCode
}

void describe("the bundle", () => {
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "coffer-bundle-"))
    const words = [...flags, "tools/build.ts", at("dist")]
    const built = spawnSync(process.execPath, words, { cwd: root, encoding: "utf8" })
    assert.equal(built.status, 0, built.stderr)
    symlinkSync(join(root, "node_modules"), at("node_modules"))
    writeFileSync(at("package.json"), '{"type":"module"}')
  })
  after(() => rmSync(folder, { recursive: true }))

  test("reads YAML, and zod says what is wrong in it", () => {
    writeFileSync(at("coffer.yaml"), "version: 1\nname: web\nregions: 7\n")
    const { status, stderr } = coffer("protect", "-f", at("coffer.yaml"), "oci:a:1", "oci:b:1")
    assert.equal(status, 2, stderr)
    assert.match(stderr, /coffer\.yaml:3:1: regions: wanted a list, found 7/)
    writeFileSync(at("coffer.yaml"), "version: [1\n")
    assert.match(
      coffer("protect", "-f", at("coffer.yaml"), "oci:a:1", "oci:b:1").stderr,
      /coffer\.yaml:\d/,
    )
  })

  test("asks a database of PostgreSQL, and says that there is none", () => {
    const key = at("master.key")
    writeFileSync(key, `${"7a".repeat(32)}\n`, { mode: 0o600 })
    const store = `postgres://nobody@127.0.0.1:1/none`
    const { status, stderr } = coffer("cas", "serve", "--store", store, "--master-key", key)
    assert.equal(status, 6, stderr)
    assert.match(stderr, /ECONNREFUSED/)
    assert.doesNotMatch(stderr, /fault of coffer's own/)
  })

  test("serves a CAS and its page", async () => {
    const words = ["cas", "serve", "--store", at("cas"), "--listen", "127.0.0.1:0"]
    const child = spawn(
      process.execPath,
      [...flags, at("dist", "main.js"), ...words, "--page", "127.0.0.1:0"],
      { stdio: ["ignore", "ignore", "pipe"] },
    )
    try {
      const [, url] = pageUrl.exec(await said(child.stderr, pageUrl)) ?? []
      assert.ok(url !== undefined)
      assert.equal(await statusOf(url), 200)
    } finally {
      child.kill("SIGTERM")
      if (child.exitCode === null) await once(child, "exit")
    }
    assert.equal(child.exitCode, 0)
  })
})
