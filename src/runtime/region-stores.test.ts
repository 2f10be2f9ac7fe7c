import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type TestContext, test } from "node:test"
import { utf8, utf8OfByteString } from "../bytes/index.ts"
import { tarSourceOfFile, treeFromTar, writeTar } from "../tar/index.ts"
import { contentOfBytes, type DirectoryNode, plainDirectory, TreeBuilder } from "../tree/index.ts"
import { RegionStores } from "./region-stores.ts"

const salt = "ab".repeat(32)

interface Root {
  readonly root: string
  readonly store: string
}

/** A container's root filesystem with one store, as an engine makes it. */
function makeRoot(t: TestContext): Root {
  const root = mkdtempSync(join(tmpdir(), "region-stores-"))
  t.after(() => rmSync(root, { recursive: true, force: true }))
  const store = join(root, "coffer/regions/model")
  mkdirSync(join(store, "segments"), { recursive: true })
  writeFileSync(join(store, "header"), "header")
  writeFileSync(join(store, "segments", salt), "segment")
  return { root, store }
}

function namesIn({ root }: Root): readonly string[] | undefined {
  const stores = RegionStores.inRoot(root, ["model"])
  const names = stores.of("model")?.map(({ name }) => name)
  stores.close()
  return names
}

test("a store in a root filesystem is found, and another is not", (t) => {
  const made = makeRoot(t)
  assert.deepEqual(namesIn(made), ["header", `segments/${salt}`])
  const stores = RegionStores.inRoot(made.root, ["other"])
  assert.equal(stores.of("other"), undefined)
  assert.equal(stores.of("model"), undefined)
  stores.close()
})

test("symlinks lead nowhere: not on the way, and not in the place of a file", (t) => {
  for (const path of ["coffer", "coffer/regions", "coffer/regions/model"]) {
    const made = makeRoot(t)
    renameSync(join(made.root, path), join(made.root, "moved"))
    symlinkSync(join(made.root, "moved"), join(made.root, path))
    assert.equal(namesIn(made), undefined, path)
  }
  const made = makeRoot(t)
  rmSync(join(made.store, "header"))
  symlinkSync("/etc/passwd", join(made.store, "header"))
  assert.deepEqual(namesIn(made), [`segments/${salt}`])
})

test("what is no regular file is passed over, and nothing waits for it", (t) => {
  const made = makeRoot(t)
  spawnSync("mkfifo", [join(made.store, "segments", "cd".repeat(32))])
  mkdirSync(join(made.store, "segments", "ef".repeat(32)))
  assert.ok(existsSync(join(made.store, "segments", "cd".repeat(32))))
  assert.deepEqual(namesIn(made), ["header", `segments/${salt}`])
})

test("closing leaves no descriptor open", (t) => {
  const made = makeRoot(t)
  const before = readdirSync("/proc/self/fd").length
  for (let i = 0; i < 5; i += 1) namesIn(made)
  assert.equal(readdirSync("/proc/self/fd").length, before)
})

test("the stores of an image that we read: where they lie, else copied into one file each", (t) => {
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  const meta = { ...plainDirectory, mode: 0o444 }
  for (const [name, text] of Object.entries({ header: "HEAD", [`segments/${salt}`]: "SEGMENT" }))
    tree.put(utf8OfByteString(name), { kind: "file", meta, content: contentOfBytes(utf8(text)) })
  const files = tree.finish()
  assert.deepEqual(placesOf(files), [
    ["header", 0, 4],
    [`segments/${salt}`, 4, 7],
  ])
  // In a tar of the disk they are read where they are: a block after the other.
  const folder = mkdtempSync(join(tmpdir(), "region-stores-"))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const parts: Uint8Array[] = []
  writeTar(files, (part) => void parts.push(Uint8Array.from(part)))
  writeFileSync(join(folder, "tar"), Buffer.concat(parts))
  const fd = openSync(join(folder, "tar"), "r")
  const found = RegionStores.ofImage([{ name: "model", files: treeFromTar(tarSourceOfFile(fd)) }])
  closeSync(fd)
  for (const { name, path, offset, size } of found.of("model") ?? []) {
    const bytes = readFileSync(path).subarray(offset, offset + size)
    assert.equal(bytes.toString(), name === "header" ? "HEAD" : "SEGMENT")
  }
  found.close()
})

function placesOf(files: DirectoryNode) {
  const stores = RegionStores.ofImage([{ name: "model", files }])
  const places = stores.of("model")?.map(({ name, offset, size }) => [name, offset, size])
  stores.close()
  return places
}
