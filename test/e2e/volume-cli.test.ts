import assert from "node:assert/strict"
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { sha256 } from "../../src/crypto/index.ts"
import { NodeDisk, openStore } from "../../src/volume/index.ts"
import { coffer } from "../support/cli.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-volume-cli-"))
after(() => rmSync(folder, { recursive: true }))

const at = (name: string) => join(folder, name)
const keyFile = at("key")
const pin = at("pin")
const directory = at("volume")
const key = ["--key-file", keyFile]
const pinned = [...key, "--pin", pin]
writeFileSync(keyFile, Buffer.alloc(32, 5))
writeFileSync(at("other-key"), "06".repeat(32))
mkdirSync(at("tree/sub"), { recursive: true })
writeFileSync(at("tree/sub/file"), "content ".repeat(10_000))
writeFileSync(at("tree/small"), "small\n")

async function fails(code: number, words: RegExp, ...argv: readonly string[]): Promise<void> {
  const ran = await coffer("volume", ...argv)
  assert.equal(ran.code, code, `${argv.join(" ")}: ${ran.err}`)
  assert.match(ran.err, words)
  assert.match(ran.err, /^coffer: [a-z/]/, "one sentence, in lower case")
}

test("a volume is made, filled, looked at, verified", async () => {
  assert.equal((await coffer("volume", "create", directory, ...pinned)).code, 0)
  assert.equal((await coffer("volume", "import", directory, at("tree"), ...pinned)).code, 0)
  const cat = await coffer("volume", "cat", directory, "/small", ...pinned)
  assert.equal(cat.out.join(""), "small\n")
  const stat = await coffer("volume", "stat", directory, ...pinned, "--json")
  const facts = JSON.parse(stat.out.join("")) as { protection: string; freshness: string }
  assert.equal(facts.protection, "encrypted")
  assert.match(facts.freshness, /pinned/)
  const verify = await coffer("volume", "verify", directory, ...pinned)
  assert.equal(verify.code, 0, verify.err)
  assert.match(verify.out.join("\n"), /whole/)
})

test("every wrong use is a clear sentence and its exit code", async () => {
  await fails(2, /found --?|required option|key-file/, "stat", directory)
  await fails(3, /key does not fit/, "stat", directory, "--key-file", at("other-key"))
  await fails(6, /key file .*no such file/, "stat", directory, "--key-file", at("none"))
  writeFileSync(at("short"), "abc")
  await fails(
    2,
    /32 raw bytes or 64 hex digits, found 3/,
    "stat",
    directory,
    "--key-file",
    at("short"),
  )
  await fails(6, /header/, "stat", at("nowhere"), ...key)
  await fails(4, /pin file .*no file/, "stat", directory, ...key, "--pin", at("no-pin"))
  await fails(2, /new or empty directory/, "create", directory, ...key)
  await fails(2, /wanted no file, found one/, "create", at("another"), ...pinned)
  const held = openStore({ disk: new NodeDisk(directory), key: Buffer.alloc(32, 5) })
  await fails(7, /in use by another process/, "import", directory, at("tree"), ...key)
  held.store.close()
})

test("an emptied directory and an older one are 4", async () => {
  const copy = at("copy")
  // The test above has written without the pin, so the pin is moved on first.
  assert.equal((await coffer("volume", "compact", directory, ...pinned)).code, 0)
  cpSync(directory, copy, { recursive: true })
  const older = at("older")
  cpSync(directory, older, { recursive: true })
  assert.equal((await coffer("volume", "import", directory, at("tree/sub"), ...pinned)).code, 0)
  await fails(4, /wanted commit/, "verify", older, ...pinned)
  await fails(4, /wanted commit/, "import", older, at("tree"), ...pinned)
  for (const name of readdirSync(copy)) rmSync(join(copy, name), { recursive: true })
  await fails(4, /found none/, "ls", copy, ...pinned)
})

test("damage is named: file, range, what it looks like; the rest comes out with --salvage", async () => {
  const damaged = at("damaged")
  cpSync(directory, damaged, { recursive: true })
  const segments = readdirSync(join(damaged, "segments")).map((name) =>
    join(damaged, "segments", name),
  )
  const big = segments.toSorted((a, b) => readFileSync(b).length - readFileSync(a).length)[0] ?? ""
  const bytes = readFileSync(big)
  bytes[20_000] = (bytes[20_000] ?? 0) ^ 1
  writeFileSync(big, bytes)
  const verify = await coffer("volume", "verify", damaged, ...pinned, "--json")
  assert.equal(verify.code, 3)
  const report = JSON.parse(verify.out.join("")) as {
    whole: boolean
    affected: { path: string; offset: number; size: number; attack: string }[]
  }
  assert.equal(report.whole, false)
  assert.ok(
    report.affected.some(({ path, attack }) => path === "/sub/file" && attack === "changed"),
  )
  const salvaged = at("salvaged")
  const ran = await coffer("volume", "export", damaged, salvaged, "--salvage", ...pinned)
  assert.equal(ran.code, 3)
  assert.match(ran.err, /damaged: \/sub\/file/)
  assert.equal(readFileSync(join(salvaged, "small"), "utf8"), "small\n")
})

test("a volume of a newer version says so", async () => {
  const newer = at("newer")
  cpSync(directory, newer, { recursive: true })
  const header = readFileSync(join(newer, "header"))
  header.writeUInt32LE(2, 8)
  header.set(sha256(header.subarray(0, 96)), 96)
  writeFileSync(join(newer, "header"), header)
  await fails(2, /version 1, found 2/, "stat", newer, ...key)
})

test("rekey: only the new key opens it, and again is no harm", async () => {
  const change = ["rekey", directory, ...pinned, "--new-key-file", at("other-key")]
  assert.equal((await coffer("volume", ...change)).code, 0)
  await fails(3, /key does not fit/, "stat", directory, ...pinned)
  assert.equal((await coffer("volume", ...change)).code, 0)
  const renewed = ["--key-file", at("other-key"), "--pin", pin]
  assert.equal(
    (await coffer("volume", "cat", directory, "/small", ...renewed)).out.join(""),
    "small\n",
  )
  assert.equal((await coffer("volume", "compact", directory, ...renewed)).code, 0)
  assert.equal(
    (await coffer("volume", "cat", directory, "/small", ...renewed)).out.join(""),
    "small\n",
  )
})

test("an authenticated volume reads without its key", async () => {
  const open = at("open")
  const openPin = ["--pin", at("open-pin")]
  const made = await coffer(
    "volume",
    "create",
    open,
    ...key,
    ...openPin,
    "--protection",
    "authenticated",
  )
  assert.equal(made.code, 0)
  assert.equal((await coffer("volume", "import", open, at("tree"), ...key, ...openPin)).code, 0)
  const unverified = await coffer("volume", "cat", open, "/small", "--no-key")
  assert.equal(unverified.out.join(""), "small\n")
  assert.match(unverified.err, /nothing of this is verified/)
  const verified = await coffer("volume", "cat", open, "/small", "--no-key", ...openPin)
  assert.equal(verified.out.join(""), "small\n")
  assert.doesNotMatch(verified.err, /verified/)
  await fails(2, /key/, "import", open, at("tree"))
})
