/** Encrypted content of an image: renewed by its owner, changed and put back by the adversary. */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { type CliRun, coffer } from "../support/cli.ts"
import { type Done, lacksPodman, Podman } from "../support/podman.ts"
import { makeTinyImage } from "../support/tiny-image.ts"

const root = new URL("../..", import.meta.url).pathname
let folder = ""

const weights = (version: string) => `weights of ${version} ${"0123456789".repeat(20_000)}\n`
const script = `
  cat /app/model/weights > /dev/null || exit 1
  read -r name < /app/model/weights
  echo "\${name%% 0*}"
  wc -c < /app/model/weights`
const yaml = `version: 1
name: shop
service: { argv: ${JSON.stringify(["/bin/sh", "-c", script])} }
env: { set: { PATH: /bin } }
regions:
  - { path: /app/model, protection: encrypted, lifetime: ephemeral }
`

async function must(...argv: readonly string[]): Promise<CliRun> {
  const done = await coffer(...argv)
  assert.equal(done.code, 0, done.err)
  return done
}

interface Made {
  readonly reference: string
  readonly mrEnclave: string
  readonly tag: string
}

async function protect(version: string): Promise<Made> {
  makeTinyImage(join(folder, `source-${version}`), { "/app/model/weights": weights(version) })
  const reference = `oci:${folder}/${version}:1`
  const files = ["-f", join(folder, "coffer.yaml"), "--keys", join(folder, "shop.keys")]
  const policy = ["--policy-out", join(folder, `${version}.policy`), "--access-key", access]
  const source = `oci:${folder}/source-${version}:1`
  const { out } = await must("protect", source, reference, ...files, ...policy, "--json")
  const { mrEnclave, regions } = JSON.parse(out.join("")) as {
    mrEnclave: string
    regions: { tag: string }[]
  }
  return { reference, mrEnclave, tag: regions[0]?.tag ?? "" }
}

function run(...args: readonly string[]): Done {
  return spawnSync(join(root, "coffer"), ["run", ...args], {
    encoding: "utf8",
    cwd: folder,
    env: { ...process.env, COFFER_FROM_SOURCE: "1", XDG_DATA_HOME: join(folder, "data") },
    timeout: 60_000,
  })
}

function lacks(): string | false {
  if (process.getuid?.() !== 0) return "mounts need root"
  if (!existsSync("/dev/fuse")) return "no /dev/fuse here"
  return spawnSync("runc", ["--version"]).status === 0 ? false : "no runc here"
}

let access = ""

void describe("encrypted content of an image", { skip: lacks() }, () => {
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "coffer-image-region-"))
    writeFileSync(join(folder, "coffer.yaml"), yaml)
    const { out } = await must("keygen", "--access", join(folder, "owner.pem"))
    access = /[0-9a-f]{64}/.exec(out.join(""))?.[0] ?? ""
  })
  after(() => rmSync(folder, { recursive: true, force: true }))

  test("new content has the same MrEnclave; it counts when its owner says so, and the older one no more", async () => {
    const first = await protect("v1")
    const second = await protect("v2")
    assert.equal(second.mrEnclave, first.mrEnclave)
    assert.notEqual(second.tag, first.tag)
    const without = run(first.reference)
    assert.equal(without.status, 125)
    assert.match(without.stderr, /region \/app\/model: wanted the key of the image, found none/)
    assert.match(run(first.reference, "--keys", "shop.keys").stdout, /^weights of v1\n/)
    // The key is in the CAS now.
    assert.match(run(first.reference).stdout, /^weights of v1\n/)
    const early = run(second.reference)
    assert.deepEqual([early.status, early.stdout], [125, ""])
    assert.match(
      early.stderr,
      /region \/app\/model: wanted the content with tag .*found another version/,
    )
    assert.match(early.stderr, /hint: .*coffer run --accept --keys/)
    const accepted = run(second.reference, "--accept", "--keys", "shop.keys")
    assert.match(accepted.stdout, /^weights of v2\n/, accepted.stderr)
    const older = run(first.reference)
    assert.deepEqual([older.status, older.stdout], [125, ""])
    assert.match(older.stderr, /an older content was put in its place/)
  })

  test("another key opens nothing", async () => {
    const { reference } = await protect("v1")
    await must("keygen", "--volume", join(folder, "other.key"))
    const { status, stdout, stderr } = run(reference, "--accept", "--keys", "other.key")
    assert.deepEqual([status, stdout], [125, ""])
    assert.match(stderr, /the key does not fit/)
  })

  test(
    "podman: by a policy; changed bytes are an error, and never content",
    {
      skip: lacksPodman(),
    },
    underPodman,
  )
})

async function underPodman(): Promise<void> {
  const { reference } = await protect("v1")
  const cas = join(folder, "node-cas")
  const secret = `image-key=${folder}/shop.keys`
  const policy = join(folder, "v1.policy")
  const key = join(folder, "owner.pem")
  await must("policy", "create", policy, "--key", key, "--secret", secret, "--cas-dir", cas)
  const engine = new Podman(folder, { COFFER_FROM_SOURCE: "1", COFFER_INSECURE_CAS_DIR: cas })
  try {
    engine.load(reference, "localhost/shop:1")
    const start = () =>
      engine.call("run", "--rm", "--annotation", "io.coffer.policy=shop/shop", "localhost/shop:1")
    const plain = start()
    assert.equal(plain.status, 0, plain.stderr)
    assert.match(plain.stdout, /^weights of v1\n\s*200015\n/)
    const store = storeIn(join(folder, "podman"))
    for (const [file, offset, sentence] of attacksOn(store)) {
      const undo = flip(file, offset)
      const { status, stdout, stderr } = start()
      undo()
      assert.notEqual(status, 0, `${file} ${offset}`)
      assert.doesNotMatch(stdout, /200015/, `${file} ${offset}`)
      assert.match(stderr, sentence)
    }
    assert.equal(start().status, 0)
  } finally {
    engine.close()
  }
}

/** The store of the region in the storage of an engine. */
function storeIn(storage: string): string {
  const found = spawnSync("find", [storage, "-path", "*/coffer/regions/app-model"], {
    encoding: "utf8",
  }).stdout.trim()
  assert.notEqual(found, "")
  return found.split("\n")[0] ?? ""
}

type Attack = readonly [file: string, offset: number, sentence: RegExp]

function attacksOn(store: string): Attack[] {
  const [segment = ""] = readdirSync(join(store, "segments"))
  const path = join(store, "segments", segment)
  return [
    [join(store, "header"), 20, /volume header/],
    [path, 30, /region \/app\/model: /],
    // The file's data, which nobody reads before the service does.
    [path, 100_000, /Input\/output error/],
    [path, statSync(path).size - 100, /region \/app\/model: /],
  ]
}

function flip(file: string, offset: number): () => void {
  const fd = openSync(file, "r+")
  const byte = Buffer.alloc(1)
  const change = () => {
    readSync(fd, byte, 0, 1, offset)
    byte[0] = (byte[0] ?? 0) ^ 1
    writeSync(fd, byte, 0, 1, offset)
  }
  change()
  return () => {
    change()
    closeSync(fd)
  }
}
