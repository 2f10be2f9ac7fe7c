import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { mkdtempSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type TestContext, test } from "node:test"
import { gzipSync, zstdCompressSync } from "node:zlib"
import { CofferError, type ErrorCode } from "../errors.ts"
import { readBlob } from "./blobs.ts"
import type { Descriptor } from "./documents.ts"
import { openLayout } from "./layout.ts"
import { LayoutWriter } from "./layout-writer.ts"
import { parseImageReference } from "./reference.ts"
import { decompressedLimit, spoolLayer } from "./spool.ts"

const platform = { os: "linux", architecture: "amd64" }
const layerType = "application/vnd.oci.image.layer.v1.tar"

function fails(code: ErrorCode, message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof CofferError, String(error))
    assert.equal(error.code, code, error.message)
    assert.match(error.message, message)
    return true
  }
}

function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "oci-"))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`
}

interface Made {
  readonly directory: string
  readonly layer: Descriptor
  readonly plain: Uint8Array
}

/** A layout with one image of one layer. */
function makeLayout(directory: string, suffix = "", compress = (bytes: Uint8Array) => bytes): Made {
  const plain = new Uint8Array(10240).map((_, i) => i % 7)
  const writer = new LayoutWriter(directory)
  const layer = writer.addBlob(`${layerType}${suffix}`, (sink) => sink(compress(plain)))
  const config = writer.addDocument("application/vnd.oci.image.config.v1+json", {
    architecture: "amd64",
    os: "linux",
    config: { Env: ["A=b"], Entrypoint: ["/bin/true"] },
    rootfs: { type: "layers", diff_ids: [digestOf(plain)] },
  })
  const manifest = writer.addDocument("application/vnd.oci.image.manifest.v1+json", {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: { ...config },
    layers: [{ ...layer }],
  })
  writer.finish(manifest, "latest")
  return { directory, layer, plain }
}

test("image references", () => {
  assert.deepEqual(parseImageReference("oci:a/b:c"), { kind: "layout", directory: "a/b", tag: "c" })
  assert.deepEqual(parseImageReference("oci:/x"), {
    kind: "layout",
    directory: "/x",
    tag: undefined,
  })
  assert.deepEqual(parseImageReference("docker-archive:-"), {
    kind: "docker-archive",
    file: undefined,
    tag: undefined,
  })
  assert.deepEqual(parseImageReference("docker://r.example:5000/a"), {
    kind: "skopeo",
    name: "docker://r.example:5000/a",
  })
  assert.deepEqual(parseImageReference("localhost/shop:1"), {
    kind: "bare",
    name: "localhost/shop:1",
  })
  for (const text of ["", "oci:", "oci::x", "docker://", "UPPER", "oci:a:b c"]) {
    assert.throws(() => parseImageReference(text), fails("usage", /wanted/), text)
  }
})

test("a layout is read back as it was written, twice the same, plain, gzip and zstd", async (t) => {
  for (const [suffix, compress] of [
    ["", (bytes: Uint8Array) => bytes],
    ["+gzip", (bytes: Uint8Array) => gzipSync(bytes)],
    ["+zstd", (bytes: Uint8Array) => zstdCompressSync(bytes)],
  ] as const) {
    const { directory, plain } = makeLayout(scratch(t), suffix, compress)
    const image = openLayout(directory, undefined, platform)
    const [layer] = image.layers
    assert.ok(layer)
    const spool = await spoolLayer(image.blobs, layer, () => undefined, 2 ** 32)
    const read = new Uint8Array(spool.size)
    spool.read(read, 0)
    assert.deepEqual(read, plain)
    spool.close()
    image.close()
    const again = makeLayout(scratch(t), suffix, compress)
    assert.deepEqual(
      readFileSync(join(again.directory, "index.json")),
      readFileSync(join(directory, "index.json")),
    )
  }
})

test("every byte of every blob matters", async (t) => {
  const { directory, layer } = makeLayout(scratch(t), "+gzip", (bytes) => gzipSync(bytes))
  const path = join(directory, "blobs", "sha256", layer.digest.slice(7))
  const good = readFileSync(path)
  for (let at = 0; at < good.length; at += 1) {
    const bad = Buffer.from(good)
    bad[at] = (bad[at] ?? 0) ^ 1
    writeFileSync(path, bad)
    const image = openLayout(directory, "latest", platform)
    const [first] = image.layers
    assert.ok(first)
    await assert.rejects(
      spoolLayer(image.blobs, first, () => undefined, 2 ** 32),
      fails("integrity", /layer sha256/),
      `byte ${at}`,
    )
    image.close()
  }
  truncateSync(path, good.length - 1)
  const image = openLayout(directory, "latest", platform)
  assert.throws(
    () => readBlob(image.blobs, layer, "layer"),
    fails("integrity", /wanted \d+ bytes, found \d+/),
  )
  image.close()
})

test("what is missing, of another kind or for another platform is said by name", (t) => {
  const { directory, layer } = makeLayout(scratch(t))
  assert.throws(
    () => openLayout(directory, "v2", platform),
    fails("missing", /wanted the tag v2, found none; its tags are latest/),
  )
  assert.throws(
    () => openLayout(join(directory, "none"), undefined, platform),
    fails("missing", /no such file/),
  )
  const image = openLayout(directory, undefined, platform)
  renameSync(join(directory, "blobs", "sha256", layer.digest.slice(7)), join(directory, "away"))
  assert.throws(() => readBlob(image.blobs, layer, "layer"), fails("missing", /wanted blob sha256/))
  image.close()
})

test("a decompression bomb is stopped", async (t) => {
  const zeros = zstdCompressSync(Buffer.alloc(1 << 28))
  const bomb = Buffer.concat(Array.from({ length: 5 }, () => zeros))
  const directory = scratch(t)
  const writer = new LayoutWriter(directory)
  const layer = writer.addBlob(`${layerType}+zstd`, (sink) => sink(bomb))
  const config = writer.addDocument("application/vnd.oci.image.config.v1+json", {
    architecture: "amd64",
    os: "linux",
    rootfs: { type: "layers", diff_ids: [`sha256:${"0".repeat(64)}`] },
  })
  const manifest = writer.addDocument("application/vnd.oci.image.manifest.v1+json", {
    schemaVersion: 2,
    config: { ...config },
    layers: [{ ...layer }],
  })
  writer.finish(manifest, "bomb")
  const image = openLayout(directory, "bomb", platform)
  t.after(() => image.close())
  const [first] = image.layers
  assert.ok(first)
  await assert.rejects(
    spoolLayer(image.blobs, first, () => undefined, 2 ** 32),
    fails("config", /wanted at most \d+ bytes after decompression/),
  )
})

test("all layers of an image together are bounded, each counted once", async (t) => {
  const { directory } = makeLayout(scratch(t), "+gzip", (bytes) => gzipSync(bytes))
  const image = openLayout(directory, undefined, platform)
  t.after(() => image.close())
  const [layer] = image.layers
  assert.ok(layer)
  await assert.rejects(
    spoolLayer(image.blobs, layer, () => undefined, 10_000),
    fails("config", /wanted at most 10000 bytes after decompression/),
  )
  const of = (size: number, digest: string) => ({ ...layer, blob: { ...layer.blob, size, digest } })
  const [small, large] = [of(1000, "sha256:a"), of(2 ** 30, "sha256:b")]
  assert.equal(decompressedLimit([small, small]), 2 ** 32)
  assert.equal(decompressedLimit([small, large, large]), 100 * (2 ** 30 + 1000))
})
