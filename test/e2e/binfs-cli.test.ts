import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import {
  chmodSync,
  closeSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { gzipSync, zstdCompressSync } from "node:zlib"
import { main } from "../../src/cli/index.ts"
import { directorySource, extractTree, treeDigest } from "../../src/tree/index.ts"
import { sampleTree } from "../support/binfs-sample.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-binfs-cli-"))
after(() => rmSync(folder, { recursive: true }))
const source = join(folder, "source")
const image = join(folder, "image")
const isRoot = process.getuid?.() === 0
const needsRoot = isRoot ? false : "owners and devices need root"

interface Ran {
  readonly status: number
  readonly out: string
  readonly err: string
}

async function coffer(...argv: readonly string[]): Promise<Ran> {
  const out: string[] = []
  const err: string[] = []
  const status = await main(argv, {
    env: {},
    terminal: false,
    columns: 80,
    exitCode: 0,
    print: (line) => out.push(`${line}\n`),
    write: (bytes) => out.push(Buffer.from(bytes).toString("latin1")),
    warn: (line) => err.push(`${line}\n`),
    warnRaw: (text) => err.push(text),
  })
  return { status, out: out.join(""), err: err.join("") }
}

async function rootHashOf(input: string): Promise<string> {
  const { status, out, err } = await coffer("binfs", "create", input, image, "--json")
  assert.equal(status, 0, err)
  return (JSON.parse(out) as { rootHash: string }).rootHash
}

test("directory, tars in two orders, gzip, zstd, and the image itself: one root hash", {
  skip: needsRoot,
}, async () => {
  extractTree(sampleTree(), source)
  const wanted = await rootHashOf(source)
  const copy = join(folder, "copy")
  writeFileSync(copy, readFileSync(image))
  assert.equal(await rootHashOf(copy), wanted)
  for (const order of [[], ["--sort=name"]]) {
    const how = ["--format=pax", "--xattrs", "--xattrs-include=*", "--sparse", ...order]
    // A tar holds no socket: that one is taken out on both sides.
    rmSync(join(source, "dev/socket"), { force: true })
    const plain = await rootHashOf(source)
    const run = spawnSync("tar", [...how, "-cf", join(folder, "tar"), "-C", source, "."])
    assert.equal(run.status, 0, String(run.stderr))
    const times = spawnSync("tar", ["-tf", join(folder, "tar")])
    assert.equal(times.status, 0)
    assert.equal(await rootHashOf(join(folder, "tar")), plain)
    const tar = readFileSync(join(folder, "tar"))
    writeFileSync(join(folder, "tar.gz"), gzipSync(tar))
    writeFileSync(join(folder, "tar.zst"), zstdCompressSync(tar))
    assert.equal(await rootHashOf(join(folder, "tar.gz")), plain)
    assert.equal(await rootHashOf(join(folder, "tar.zst")), plain)
  }
})

test("extract gives back the tree; ls and cat show it", { skip: needsRoot }, async () => {
  rmSync(source, { recursive: true, force: true })
  extractTree(sampleTree(), source)
  await rootHashOf(source)
  const target = join(folder, "target")
  assert.equal((await coffer("binfs", "extract", image, target)).status, 0)
  assert.equal(treeDigest(directorySource(target)), treeDigest(sampleTree()))
  const again = await coffer("binfs", "extract", image, target)
  assert.equal(again.status, 2)
  const { out } = await coffer("binfs", "ls", image)
  assert.match(out, /^lrwxrwxrwx {2}.* bin -> usr\/bin$/m)
  assert.match(out, /^drwxrwxrwt {2}.* many$/m)
  const deep = await coffer("binfs", "ls", image, "/dev", "--json")
  const names = (JSON.parse(deep.out) as { path: string }[]).map(({ path }) => path)
  assert.deepEqual(names, ["fifo", "large", "null", "socket"])
  const bytes = await coffer("binfs", "cat", image, "/bin/tool")
  assert.equal(
    Buffer.from(bytes.out, "latin1").compare(readFileSync(join(source, "usr/bin/tool"))),
    0,
  )
  assert.equal((await coffer("binfs", "cat", image, "/dev")).status, 6)
  assert.equal((await coffer("binfs", "ls", image, "/nowhere")).status, 6)
})

test("verify names the file of a changed block and exits with 3", async () => {
  const plain = join(folder, "plain")
  mkdirSync(plain)
  writeFileSync(join(plain, "first"), Buffer.alloc(10_000, 1))
  writeFileSync(join(plain, "second"), Buffer.alloc(10_000, 2))
  chmodSync(plain, 0o755)
  const rootHash = await rootHashOf(plain)
  assert.equal((await coffer("binfs", "verify", image)).status, 0)
  const good = await coffer("binfs", "verify", image, "--root-hash", rootHash, "--json")
  assert.equal(good.status, 0)
  assert.equal((JSON.parse(good.out) as { rootFrom: string }).rootFrom, "option")
  const other = await coffer("binfs", "verify", image, "--root-hash", "0".repeat(64))
  assert.equal(other.status, 3)
  assert.equal((await coffer("binfs", "verify", image, "--root-hash", "0")).status, 2)
  const at = readFileSync(image).indexOf(Buffer.alloc(100, 2))
  const fd = openSync(image, "r+")
  writeSync(fd, "x", at)
  closeSync(fd)
  const bad = await coffer("binfs", "verify", image, "--root-hash", rootHash)
  assert.equal(bad.status, 3)
  assert.match(bad.err, /^coffer: \/second: verity: data block \d+:/)
  assert.equal((await coffer("binfs", "cat", image, "/first")).status, 0)
  assert.equal((await coffer("binfs", "cat", image, "/second")).status, 3)
})

test("what is no binary filesystem, and what cannot be one, is said", async () => {
  const text = join(folder, "text")
  writeFileSync(text, "no filesystem at all")
  assert.equal((await coffer("binfs", "ls", text)).status, 2)
  assert.equal((await coffer("binfs", "ls", join(folder, "nothing"))).status, 6)
  const noTar = await coffer("binfs", "create", text, image)
  assert.equal(noTar.status, 2)
  assert.match(noTar.err, /text: wanted a directory, a tar, or a binary filesystem/)
  assert.equal((await coffer("binfs", "ls", folder)).status, 2)
  assert.equal((await coffer("binfs", "create", folder, folder)).status, 2)
  // A device is not replaced by a file.
  assert.equal((await coffer("binfs", "create", folder, "/dev/null")).status, 2)
  assert.ok(lstatSync("/dev/null").isCharacterDevice())
  assert.equal((await coffer("binfs", "create", folder)).status, 2)
})
