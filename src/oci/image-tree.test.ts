import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type TestContext, test } from "node:test"
import { gzipSync } from "node:zlib"
import { utf8, utf8OfByteString } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { writeTar } from "../tar/index.ts"
import { contentOfBytes, plainDirectory, TreeBuilder, treeDigest } from "../tree/index.ts"
import { imageTree } from "./image-tree.ts"
import { openLayout } from "./layout.ts"
import { LayoutWriter } from "./layout-writer.ts"

const platform = { os: "linux", architecture: "amd64" }
const quiet = () => undefined

function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "image-tree-"))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

function tarOf(name: string, size: number): Uint8Array {
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  const content = contentOfBytes(utf8(`${name} `.repeat(size)))
  tree.put(utf8OfByteString(name), { kind: "file", meta: plainDirectory, content })
  const parts: Uint8Array[] = []
  writeTar(tree.finish(), (part) => parts.push(Uint8Array.from(part)), quiet)
  return Buffer.concat(parts)
}

/** A layout with an image of some layers, one of them twice. */
function makeImage(t: TestContext): string {
  const directory = scratch(t)
  const writer = new LayoutWriter(directory)
  const made = ["a", "b", "c"].map((name, i) => {
    const plain = tarOf(name, 100_000)
    const suffix = i === 1 ? "" : "+gzip"
    const blob = writer.addBlob(`application/vnd.oci.image.layer.v1.tar${suffix}`, (sink) =>
      sink(i === 1 ? plain : gzipSync(plain)),
    )
    return { blob, diffId: `sha256:${createHash("sha256").update(plain).digest("hex")}` }
  })
  const layers = [...made, ...made.slice(0, 1)]
  const config = writer.addDocument("application/vnd.oci.image.config.v1+json", {
    architecture: "amd64",
    os: "linux",
    rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
  })
  const manifest = writer.addDocument("application/vnd.oci.image.manifest.v1+json", {
    schemaVersion: 2,
    config: { ...config },
    layers: layers.map(({ blob }) => ({ ...blob })),
  })
  writer.finish(manifest, "1")
  return directory
}

async function digestOf(
  directory: string,
  options: NonNullable<Parameters<typeof imageTree>[2]>,
): Promise<string> {
  const image = openLayout(directory, "1", platform)
  try {
    const tree = await imageTree(image, quiet, options)
    const digest = treeDigest(tree.root)
    await tree.release()
    tree.close()
    return Buffer.from(digest).toString("hex")
  } finally {
    image.close()
  }
}

test("threads, a cache and layers in place give the same tree", async (t) => {
  const directory = makeImage(t)
  const cache = join(scratch(t), "cache")
  const want = await digestOf(directory, { workerCount: 0 })
  for (const options of [{ workerCount: 2 }, { inPlace: true, workerCount: 1 }, { cache }])
    assert.equal(await digestOf(directory, options), want)
  assert.equal(readdirSync(cache).length, 2)
  for (const workerCount of [0, 2])
    assert.equal(await digestOf(directory, { cache, workerCount }), want)
})

test("a changed, a cut and a lengthened layer in the cache is not used, and is replaced", async (t) => {
  const directory = makeImage(t)
  const cache = join(scratch(t), "cache")
  const want = await digestOf(directory, { cache })
  const file = join(cache, readdirSync(cache)[0] ?? "")
  const good = readFileSync(file)
  const attacks = [
    Buffer.concat([good.subarray(0, -1), Buffer.from("x")]),
    good.subarray(0, 50_000),
    Buffer.concat([good, Buffer.from("x")]),
    Buffer.alloc(0),
  ]
  for (const bad of attacks)
    for (const workerCount of [0, 2]) {
      writeFileSync(file, bad)
      assert.equal(await digestOf(directory, { cache, workerCount }), want)
      assert.deepEqual(readFileSync(file), good)
    }
})

test("a damaged blob fails in every way of reading, and nothing of it is kept", async (t) => {
  const directory = makeImage(t)
  const blobs = join(directory, "blobs", "sha256")
  const image = openLayout(directory, "1", platform)
  image.close()
  const { layers } = image
  for (const { blob } of layers.slice(0, 3)) {
    const path = join(blobs, blob.digest.slice("sha256:".length))
    const good = readFileSync(path)
    const bad = Buffer.from(good)
    bad[bad.length >> 1] = (bad[bad.length >> 1] ?? 0) ^ 1
    writeFileSync(path, bad)
    const cache = join(scratch(t), "cache")
    for (const options of [{ workerCount: 0 }, { workerCount: 2 }, { inPlace: true }, { cache }])
      await assert.rejects(
        digestOf(directory, options),
        (error) => error instanceof CofferError && error.code === "integrity",
      )
    const kept = blob.mediaType.endsWith("gzip") ? blob.digest : ""
    const diffId = layers.find((layer) => layer.blob.digest === kept)?.diffId ?? "none"
    assert.ok(!existsSync(join(cache, diffId.replace("sha256:", ""))))
    writeFileSync(path, good)
  }
})
