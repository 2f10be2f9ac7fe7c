import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type TestContext, test } from "node:test"
import { LayerCache } from "./layer-cache.ts"

const bytes = Buffer.alloc(100_000, "layer")
const hex = createHash("sha256").update(bytes).digest("hex")

function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "layer-cache-"))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

function filled(t: TestContext): { readonly cache: LayerCache; readonly file: string } {
  const directory = scratch(t)
  const cache = new LayerCache(directory)
  writeFileSync(join(directory, "source"), bytes)
  const fd = openSync(join(directory, "source"), "r")
  cache.keep(`sha256:${hex}`, { fd })
  closeSync(fd)
  return { cache, file: join(directory, hex) }
}

test("what was kept is found, whole", (t) => {
  const { cache, file } = filled(t)
  const found = cache.find(`sha256:${hex}`)
  assert.ok(found !== undefined)
  const target = new Uint8Array(found.size)
  found.read(target, 0)
  assert.deepEqual(Buffer.from(target), bytes)
  utimesSync(file, 0, 0)
  cache.used(found)
  assert.ok(statSync(file).mtimeMs > 0)
  found.close()
  assert.equal(cache.find(`sha256:${"0".repeat(64)}`), undefined)
  assert.deepEqual(readFileSync(file), bytes)
  assert.ok(readdirSync(join(file, "..")).every((name) => !name.startsWith(".new")))
})

test("what is no file is not followed, and goes", (t) => {
  const { cache, file } = filled(t)
  cache.remove(`sha256:${hex}`)
  assert.ok(!existsSync(file))
  symlinkSync("/etc/passwd", file)
  assert.equal(cache.find(`sha256:${hex}`), undefined)
  rmSync(file)
  mkdirSync(file)
  assert.equal(cache.find(`sha256:${hex}`), undefined)
  assert.ok(!existsSync(file))
})

test("a directory that others can write or read is refused", (t) => {
  const directory = scratch(t)
  chmodSync(directory, 0o755)
  assert.throws(
    () => new LayerCache(directory),
    /wanted a directory of ours, mode 0700, found .*0755/,
  )
})
