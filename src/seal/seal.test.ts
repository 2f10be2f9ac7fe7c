import assert from "node:assert/strict"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { toHex } from "../bytes/index.ts"
import { sha256 } from "../crypto/index.ts"
import type { ManifestDraft } from "../manifest/index.ts"
import { SgxsReader } from "../sgx/index.ts"
import {
  binfsOffsetOf,
  looksSealed,
  measurePages,
  readSealed,
  sourceOfBytes,
  type WriteImage,
  writeAll,
  writeSealed,
} from "./index.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-seal-"))
after(() => rmSync(folder, { recursive: true, force: true }))

const draft: ManifestDraft = {
  format: "coffer/manifest/1",
  arch: "x86-64",
  name: "test",
  binary: "/bin/test",
  argv: ["test"],
  args: { allow: [] },
  cwd: "/",
  user: { uid: 0, gid: 0, groups: [] },
  env: { set: {}, allow: {} },
  exec: [],
  stdin: "none",
  readOnly: false,
  debug: false,
  stopSignal: "SIGTERM",
  regions: [],
}

/** Stands in for a binary filesystem: this file is about the head only. */
const writeImage: WriteImage = (fd, offset) => {
  const image = new Uint8Array(8192).fill(0x5a)
  const tree = new Uint8Array(4096)
  tree.set(sha256(image.subarray(0, 4096)))
  tree.set(sha256(image.subarray(4096)), 32)
  writeAll(fd, image, offset)
  writeAll(fd, tree, offset + 8192)
  return { imageSize: 8192, hashSize: 4096, rootHash: sha256(tree) }
}

function sealed(changes: Partial<ManifestDraft> = {}): Uint8Array {
  const path = join(folder, "sealed")
  writeSealed(path, { ...draft, ...changes }, writeImage)
  return readFileSync(path)
}

test("what is written is read, twice the same, with nothing left beside", () => {
  const bytes = sealed()
  assert.equal(toHex(sha256(sealed())), toHex(sha256(bytes)))
  assert.deepEqual(readdirSync(folder), ["sealed"])
  const binary = readSealed(sourceOfBytes(bytes))
  assert.equal(binary.manifest.binfs.offset, 0x5000)
  assert.equal(binary.manifest.verity.offset, 0x7000)
  assert.equal(binary.signature, undefined)
  assert.ok(looksSealed(bytes.subarray(0, 0x5000)))
  assert.ok(!looksSealed(readFileSync(process.execPath).subarray(0, 0x5000)))
})

test("MrEnclave is the SHA-256 of its records, and other in each architecture", () => {
  const seen = new Set<string>()
  for (const arch of ["x86-64", "aarch64"] as const) {
    const binary = readSealed(sourceOfBytes(sealed({ arch })))
    const reader = new SgxsReader()
    const parts: Uint8Array[] = []
    measurePages(binary.stub, binary.manifestPages, (bytes) => {
      parts.push(bytes.slice())
      reader.update(bytes)
    })
    assert.equal(toHex(sha256(Buffer.concat(parts))), toHex(binary.mrEnclave))
    assert.equal(toHex(reader.finish().mrEnclave), toHex(binary.mrEnclave))
    seen.add(toHex(binary.mrEnclave))
  }
  assert.equal(seen.size, 2)
})

test("MrEnclave of this manifest is for ever this one", () => {
  const { mrEnclave } = readSealed(sourceOfBytes(sealed()))
  assert.equal(toHex(mrEnclave), "9952fad62d961ad4287e77731a16a3e35f4ef65ae3e02480bed7172003e90fee")
})

test("a manifest of any size has its pages", () => {
  for (const size of [0, 3300, 3400, 3500, 3600, 3700, 4096, 20_000, 300_000]) {
    const argv = ["test", ...Array.from({ length: 4 }, () => "x".repeat(size / 4))]
    const binary = readSealed(sourceOfBytes(sealed({ argv })))
    assert.equal(binary.manifest.binfs.offset, binfsOffsetOf({ ...draft, argv }))
    assert.equal(binary.manifestPages.at(-1), 0)
  }
})

test("each byte of the head is read once, and none behind it", () => {
  const bytes = sealed({ argv: ["test", "x".repeat(100_000)] })
  const seen = new Uint8Array(bytes.length)
  const inner = sourceOfBytes(bytes)
  const { manifest } = readSealed({
    size: inner.size,
    read(target, position) {
      for (let at = position; at < position + target.length; at += 1) seen[at] = (seen[at] ?? 0) + 1
      inner.read(target, position)
    },
  })
  assert.ok(seen.subarray(0, manifest.binfs.offset).every((count) => count === 1))
  assert.ok(seen.every((count) => count <= 1))
})

test("geometry that lies is refused", () => {
  const bytes = sealed()
  const text = Buffer.from(bytes).toString("latin1")
  for (const [from, to] of [
    ['"offset":20480', '"offset":24576'],
    ['"size":8192', '"size":4096'],
    ['"offset":28672', '"offset":20480'],
    ['"size":4096', '"size":8192'],
  ] as const) {
    assert.ok(text.includes(from), from)
    const changed = Buffer.from(text.replace(from, to), "latin1")
    assert.throws(() => readSealed(sourceOfBytes(changed)), { code: "integrity" }, from)
  }
  for (const size of [0, 64, 4096, 0x5000, 0x6fff, bytes.length - 1])
    assert.throws(() => readSealed(sourceOfBytes(bytes.subarray(0, size))), { code: "integrity" })
  const longer = Buffer.concat([bytes, Buffer.alloc(1)])
  assert.throws(() => readSealed(sourceOfBytes(longer)), { code: "integrity" })
})
