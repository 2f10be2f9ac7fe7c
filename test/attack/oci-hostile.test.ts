import assert from "node:assert/strict"
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { displayName } from "../../src/bytes/index.ts"
import { CofferError } from "../../src/errors.ts"
import { imageTree, openImage, parseImageReference } from "../../src/oci/index.ts"
import { walk } from "../../src/tree/index.ts"
import { archives } from "../support/hostile/archives.ts"
import { bombs, escapes, links, manyFiles, members, whiteouts } from "../support/hostile/layers.ts"
import { blobs, documents, sparseBlob } from "../support/hostile/layouts.ts"
import type { HostileImage } from "../support/hostile/make.ts"

// Each image of the corpus ends in its error, with its sentence, or in the right tree; none in a write outside of the
// temporary folder, in a file or a descriptor that stays, or in memory or time without bounds.

const base = mkdtempSync(join(tmpdir(), "hostile-"))
const canary = join(base, "canary")
const temporary = join(base, "tmp")
const own = process.env["TMPDIR"]

before(() => {
  mkdirSync(canary)
  writeFileSync(join(canary, "secret"), "secret")
  mkdirSync(temporary)
  process.env["TMPDIR"] = temporary
})

after(() => {
  if (own === undefined) delete process.env["TMPDIR"]
  else process.env["TMPDIR"] = own
  rmSync(base, { recursive: true, force: true })
})

async function readTree(reference: string): Promise<string[]> {
  const platform = { os: "linux", architecture: "amd64" }
  const image = await openImage(parseImageReference(reference), { platform, input: nothing() })
  try {
    const found = await imageTree(image, () => undefined)
    try {
      return [...walk(found.root)]
        .slice(1)
        .map(({ path, node }) => `${displayName(path)} ${node.kind}`)
        .toSorted()
    } finally {
      found.close()
    }
  } finally {
    image.close()
  }
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

function descriptorCount(): number {
  return readdirSync("/proc/self/fd").length
}

async function check({ make, expected }: HostileImage): Promise<void> {
  const folder = join(base, "image")
  const reference = make(folder)
  const openCount = descriptorCount()
  const begin = performance.now()
  try {
    const found = await readTree(reference)
    assert.ok("tree" in expected, `wanted an error, found ${found.slice(0, 20).join(", ")}`)
    const shown = found.length > 10_000 ? [`${found.length} places`] : found
    assert.deepEqual(shown, expected.tree)
  } catch (error) {
    if (!(error instanceof CofferError)) throw error
    assert.ok("code" in expected, error.message)
    assert.equal(error.code, expected.code, error.message)
    assert.match(error.message, expected.says)
    assert.doesNotMatch(`${error.message}${error.hint ?? ""}`, /[\p{Cc}\p{Cf}]/u)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  assert.ok(performance.now() - begin < 60_000)
  assert.equal(descriptorCount(), openCount, "descriptors")
  assert.deepEqual(readdirSync(temporary), [])
  assert.deepEqual(readdirSync(canary), ["secret"])
  assert.deepEqual(readdirSync(base).toSorted(), ["canary", "tmp"])
}

const corpus: readonly (readonly [string, readonly HostileImage[]])[] = [
  ["a layer that wants out", escapes(canary)],
  ["a link", links(canary)],
  ["a whiteout", whiteouts],
  ["a member", members],
  ["a blob", blobs],
  ["a document", [...documents, sparseBlob]],
  ["an archive", archives],
  ["a bomb", [...bombs, manyFiles]],
]

for (const [title, images] of corpus) {
  describe(title, () => {
    for (const one of images) test(one.name, () => check(one))
  })
}
