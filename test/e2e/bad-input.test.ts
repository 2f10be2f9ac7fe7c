/** Every file that the command line reads, in all the ways in which a file is not what it should be. */
import assert from "node:assert/strict"
import { spawn, spawnSync } from "node:child_process"
import { randomBytes } from "node:crypto"
import { once } from "node:events"
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { type CliRun, coffer } from "../support/cli.ts"
import { pauseProgram } from "../support/containerd.ts"
import { layoutOfTars } from "../support/debian-image.ts"
import { layoutOf } from "../support/image.ts"
import { makeSealed, smallTree } from "../support/sealed.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-bad-"))
const at = (name: string) => join(folder, name)

/** BAD is the file in question; the others are good, or new. */
const commands = `
protect BAD NEW/out
protect oci:BAD:1 oci:NEW/out:1
protect oci-archive:BAD oci:NEW/out:1
protect docker-archive:BAD oci:NEW/out:1
protect oci:IMAGE:1 oci:NEW/out:1 -f BAD
protect oci:IMAGE:1 oci:NEW/out:1 --sign BAD
run BAD
run oci:BAD:1
run SEALED --node-config BAD
measure BAD
measure oci:BAD:1
sign BAD --key SIGN
sign SEALED --key BAD
seal BAD NEW/out
seal TREE NEW/out -f BAD
diff BAD SEALED
diff SEALED BAD
inspect BAD
inspect oci:BAD:1
inspect --check-proof BAD --mrenclave HASH
binfs create BAD NEW/out
binfs ls BAD
binfs cat BAD /etc/passwd
binfs extract BAD NEW/out
binfs verify BAD
binfs mount BAD NEW
volume create BAD/volume --key-file BAD
volume create NEW/volume --key-file BAD
volume stat BAD --key-file KEY
volume verify BAD --key-file KEY
volume ls BAD --key-file KEY
volume ls BAD --no-key
volume cat BAD /x --key-file KEY
volume mount BAD NEW --key-file KEY
volume import BAD TREE --key-file KEY
volume export BAD NEW/out --key-file KEY
volume compact BAD --key-file KEY
volume rekey BAD --key-file KEY --new-key-file KEY
volume ls VOLUME --key-file BAD
volume ls VOLUME --key-file KEY --pin BAD
volume mount VOLUME NEW --key-file BAD
volume import VOLUME BAD --key-file KEY --pin PIN
volume rekey VOLUME --key-file KEY --pin PIN --new-key-file BAD
cas restore BAD --store NEW/cas
policy check BAD
policy diff BAD POLICY
policy diff POLICY BAD
policy create BAD --cas-dir NEW/cas --key ACCESS
policy create POLICY --cas-dir NEW/cas --key BAD
policy sign BAD
policy sign BAD --key ACCESS
policy submit BAD --cas-dir NEW/cas
attest verify BAD
attest verify BAD --type tdx
attest verify BAD --type tpm2
attest verify BAD --type coffer
attest collateral BAD
node status --config BAD
node collateral --config BAD
node serve --config BAD
`
  .trim()
  .split("\n")

const bad = {
  "a missing file": at("missing"),
  "a directory": at("directory"),
  "an empty file": at("empty"),
  garbage: at("garbage"),
  "text that is nothing": at("text"),
  "JSON of something else": at("json"),
  "a file in place of a directory": join(at("empty"), "below"),
}

/** What is right as it is: an empty directory is a root filesystem, and has nothing in it that is stale. */
const fine = new Set([
  "seal a directory",
  "binfs create a directory",
  "volume import VOLUME a directory",
  "attest collateral a directory",
])

async function makeGood(): Promise<void> {
  for (const name of ["directory", "tree"]) mkdirSync(at(name))
  writeFileSync(at("empty"), "")
  writeFileSync(at("garbage"), randomBytes(10_000))
  writeFileSync(at("text"), "what: is [this\n\tanyway\n".repeat(100))
  writeFileSync(at("json"), '{"schemaVersion":2,"version":1,"name":7,"layers":{}}')
  writeFileSync(join(at("tree"), "file"), "content")
  makeSealed(at("sealed"))
  layoutOf(smallTree, at("image"), { Entrypoint: ["/bin/hello"] })
  writeFileSync(
    at("policy.yaml"),
    (await coffer("policy", "new", "shop", "--mrenclave", "0".repeat(64))).out.join("\n"),
  )
  await good("keygen", "--sign", at("sign"), "--volume", at("key"), "--access", at("access"))
  await good("volume", "create", at("volume"), "--key-file", at("key"), "--pin", at("pin"))
}

before(makeGood)
after(() => rmSync(folder, { recursive: true, force: true }))

async function good(...argv: readonly string[]): Promise<void> {
  const { code, err } = await coffer(...argv)
  assert.equal(code, 0, `${argv.join(" ")}: ${err}`)
}

function wordsOf(command: string, file: string, fresh: string): string[] {
  const values: Readonly<Record<string, string>> = {
    BAD: file,
    NEW: fresh,
    IMAGE: at("image"),
    SEALED: at("sealed"),
    TREE: at("tree"),
    SIGN: at("sign"),
    KEY: at("key"),
    ACCESS: at("access"),
    VOLUME: at("volume"),
    PIN: at("pin"),
    POLICY: at("policy.yaml"),
    HASH: "0".repeat(64),
    LARGE: at("large"),
    "LARGE-TREE": at("large-tree"),
    "LARGE-VOLUME": at("large-volume"),
    BINFS: at("binfs"),
    PROTECTED: at("protected"),
    ARCHIVE: at("archive"),
    PACKED: at("large.tar.gz"),
    YAML: at("c.yaml"),
  }
  const names = Object.keys(values).toSorted((a, b) => b.length - a.length)
  const pattern = new RegExp(`\\b(${names.join("|")})\\b`, "g")
  return command.split(" ").map((word) => word.replaceAll(pattern, (name) => values[name] ?? ""))
}

function complaint({ code, err, out }: CliRun): string | undefined {
  if (code === 0) return "it ended with 0"
  if (code === 1 || ![2, 3, 4, 5, 6, 7, 125].includes(code)) return `it ended with ${code}`
  if (!/^coffer: [^\n]+/m.test(err)) return "no sentence of ours"
  if (/\n\s+at |node:internal|undefined|\[object|fault of coffer/.test(err)) return "our insides"
  if (/\0|[\x80-\uffff]{8}/.test(err)) return "the file's bytes on the terminal"
  if (err.length > 2000) return "a long story"
  return out.join("").length > 0 && code !== 3 ? "output beside the error" : undefined
}

/** A small disk, and files that only root can read: for programs of their own. */
const launcher = new URL("../../coffer", import.meta.url).pathname
const isRoot = process.getuid?.() === 0

function program(
  words: readonly string[],
  { uid, tmp }: { readonly uid?: number; readonly tmp?: string } = {},
) {
  const own = { COFFER_FROM_SOURCE: "1", XDG_DATA_HOME: at("data-home") }
  return spawnSync(launcher, words, {
    encoding: "utf8",
    env: { ...process.env, ...own, ...(tmp === undefined ? {} : { TMPDIR: tmp }) },
    timeout: 60_000,
    maxBuffer: 1 << 28,
    ...(uid === undefined ? {} : { uid }),
  })
}

/** What fills 8 MiB of a disk, or would. */
const writers = `
protect oci:LARGE:1 oci:NEW/out:1
protect oci:LARGE:1 oci-archive:NEW/out
seal LARGE-TREE NEW/out -f YAML
binfs create LARGE-TREE NEW/out
binfs extract BINFS NEW/out
measure SEALED --sgxs NEW/out
inspect SEALED --html NEW/out
volume import NEW/volume LARGE-TREE --key-file KEY --pin NEW/pin
volume export LARGE-VOLUME NEW/out --key-file KEY
volume export LARGE-VOLUME NEW/out.tar --key-file KEY
`
  .trim()
  .split("\n")

async function makeLarge(): Promise<void> {
  mkdirSync(at("large-tree"))
  for (let i = 0; i < 16; i += 1)
    writeFileSync(join(at("large-tree"), `${i}`), randomBytes(1 << 20))
  writeFileSync(join(at("large-tree"), "hello"), pauseProgram(), { mode: 0o755 })
  writeFileSync(at("c.yaml"), "version: 1\nservice: { argv: [/hello] }\n")
  spawnSync("tar", ["-cf", at("large.tar"), "-C", at("large-tree"), "."])
  layoutOfTars([at("large.tar")], at("large"), { Entrypoint: ["/hello"] })
  await good("binfs", "create", at("large-tree"), at("binfs"))
  await good("volume", "create", at("large-volume"), "--key-file", at("key"))
  await good("volume", "import", at("large-volume"), at("large-tree"), "--key-file", at("key"))
}

void describe("bad places", { skip: !isRoot && "needs root: mounts, and another user" }, () => {
  before(makeLarge)

  for (const command of writers)
    test(`a full disk: ${command}`, async (t) => {
      const disk = mkdtempSync(at("disk-"))
      const size = command.includes("SEALED") ? "4k" : "8m"
      spawnSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", disk])
      t.after(() => spawnSync("umount", ["-l", disk]))
      if (size === "4k") spawnSync("sh", ["-c", `echo > ${disk}/other`])
      if (command.startsWith("volume import"))
        await good(
          "volume",
          "create",
          `${disk}/volume`,
          "--key-file",
          at("key"),
          "--pin",
          `${disk}/pin`,
        )
      const ran = await coffer(...wordsOf(command, "", disk))
      assert.equal(ran.code, 7, ran.err)
      assert.equal(complaint(ran), undefined, ran.err)
      const left = readdirSync(disk).filter((name) => name.startsWith("out"))
      // What is a directory may hold a part, as with cp and tar; a file is whole or not there.
      if (!/extract|export LARGE-VOLUME NEW\/out |oci:NEW/.test(command)) assert.deepEqual(left, [])
    })

  for (const command of [
    "measure SEALED",
    "volume stat VOLUME --key-file KEY",
    "policy check POLICY",
    "inspect SEALED",
    "protect oci:IMAGE:1 oci:NEW/out:1",
    "run SEALED",
    "volume create NEW/v --key-file KEY",
    "cas init --store NEW/cas",
  ])
    test(`as a user who may not: ${command}`, () => {
      chmodSync(folder, 0o755)
      for (const name of ["sealed", "policy.yaml"]) chmodSync(at(name), 0o600)
      for (const name of ["volume", "image"]) chmodSync(at(name), 0o700)
      const fresh = mkdtempSync(at("new-"))
      const { status, stdout, stderr } = program(wordsOf(command, "", fresh), { uid: 65_534 })
      const wanted = command.startsWith("run") ? 125 : 7
      assert.equal(status, wanted, stdout + stderr)
      assert.equal(complaint({ code: wanted, err: stderr, out: [stdout] }), undefined, stderr)
      // Somebody without a session cannot run anything: they have no folder that is theirs alone.
      assert.match(stderr, /permission denied|^coffer: XDG_RUNTIME_DIR: wanted/i)
    })
})

/** What is copied to the folder of temporary files, and does not go in. */
const copiers = [
  "protect docker-archive:ARCHIVE oci:NEW/out:1",
  "protect oci:LARGE:1 oci-archive:NEW/out",
  "sign oci:PROTECTED:1 --key SIGN",
  "run oci:PROTECTED:1",
  "binfs create PACKED NEW/out",
]

async function makeCopied(): Promise<void> {
  const from = `oci:${at("large")}:1`
  await good("protect", from, `oci:${at("protected")}:1`, "-f", at("c.yaml"))
  spawnSync("gzip", ["-k", "-1", at("large.tar")])
  spawnSync("skopeo", ["copy", "-q", from, `docker-archive:${at("archive")}:x:1`])
}

void describe("no room for temporary files", {
  skip: (!isRoot || spawnSync("skopeo", ["--version"]).status !== 0) && "needs root and skopeo",
}, () => {
  before(makeCopied)

  for (const where of ["full", "missing"])
    for (const command of copiers)
      test(`TMPDIR ${where}: ${command}`, (t) => {
        const [fresh, small] = [mkdtempSync(at("new-")), mkdtempSync(at("small-"))]
        if (where === "full") {
          spawnSync("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", small])
          t.after(() => spawnSync("umount", ["-l", small]))
        } else rmSync(small, { recursive: true })
        const { status, stdout, stderr } = program(wordsOf(command, "", fresh), { tmp: small })
        const wanted = command.startsWith("run") ? 125 : where === "full" ? 7 : 6
        assert.equal(status, wanted, stdout + stderr)
        assert.equal(complaint({ code: wanted, err: stderr, out: [stdout] }), undefined, stderr)
        assert.match(stderr, /TMPDIR/)
        if (where === "full") assert.deepEqual(readdirSync(small), [])
        assert.deepEqual(readdirSync(fresh), [])
      })
})

void describe("output that nobody reads, and ^C", () => {
  for (const command of [
    "inspect SEALED",
    "--help",
    "binfs ls -R BINFS",
    "volume cat LARGE-VOLUME /1 --key-file KEY",
    "policy new shop --mrenclave HASH",
  ])
    test(`a broken pipe: ${command}`, () => {
      const words = wordsOf(command, "", "").join(" ")
      const script = `${launcher} ${words} | head -c 1 > /dev/null; exit \${PIPESTATUS[0]}`
      const env = { ...process.env, COFFER_FROM_SOURCE: "1" }
      const { status, stderr } = spawnSync("bash", ["-c", script], { encoding: "utf8", env })
      assert.doesNotMatch(stderr, /EPIPE|\n\s+at /)
      assert.equal(status, 0, stderr)
    })

  // A command, and one that is content only with a whole result.
  for (const [command, check] of [
    ["protect oci:LARGE:1 oci-archive:NEW/out", "measure oci-archive:NEW/out"],
    ["seal LARGE-TREE NEW/out -f YAML", "binfs verify NEW/out"],
    ["binfs create LARGE-TREE NEW/out", "binfs verify NEW/out"],
    ["volume export LARGE-VOLUME NEW/out.tar --key-file KEY", "binfs create NEW/out.tar NEW/made"],
  ] as const)
    test(`^C: ${command}`, async () => {
      for (const delay of [600, 900, 1200]) {
        const fresh = mkdtempSync(at("new-"))
        const child = spawn(launcher, wordsOf(command, "", fresh), {
          env: { ...process.env, COFFER_FROM_SOURCE: "1" },
          stdio: ["ignore", "ignore", "pipe"],
        })
        const ended = once(child, "exit")
        setTimeout(() => child.kill("SIGINT"), delay)
        await ended
        // In time for all of it, or nothing under that name.
        if (readdirSync(fresh).some((name) => /^out(\.tar)?$/.test(name)))
          await good(...wordsOf(check, "", fresh))
      }
    })
})

void describe("bad input", () => {
  for (const command of commands)
    test(command, async () => {
      const found: string[] = []
      for (const [what, path] of Object.entries(bad)) {
        const fresh = mkdtempSync(at("new-"))
        const ran = await coffer(...wordsOf(command, path, fresh))
        const wrong = complaint(ran)
        const isFine = [...fine].some((words) => `${command.split(" BAD")[0]} ${what}` === words)
        if (wrong !== undefined && !isFine) found.push(`${what}: ${wrong}: ${ran.err}`)
        const left = ran.code === 0 ? [] : readdirSync(fresh).filter((name) => name !== "cas")
        if (left.length > 0) found.push(`${what}: it left ${left.join(", ")}`)
        rmSync(fresh, { recursive: true, force: true })
      }
      assert.deepEqual(found, [])
    })
})
