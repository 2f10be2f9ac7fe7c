import assert from "node:assert/strict"
import { gzipSync, zstdCompressSync } from "node:zlib"
import { utf8 } from "../../src/bytes/index.ts"
import { CofferError } from "../../src/errors.ts"
import { openArchive } from "../../src/oci/archives.ts"
import { imageTree, type SourceImage } from "../../src/oci/index.ts"
import { openIndexed } from "../../src/oci/layout.ts"
import { contentOfBytes, walk } from "../../src/tree/index.ts"
import {
  configType,
  indexType,
  type Json,
  layer,
  manifestType,
  sha256,
  tarType,
} from "./hostile/make.ts"
import { Random } from "./random.ts"
import { member, rawTar } from "./raw-tar.ts"
import { mutate, seedTars } from "./tar-fuzz.ts"

// Images whose documents and layers are changed at random. Mostly the digests are made to fit again, so that the change gets
// as deep as it can.

const platform = { os: "linux", architecture: "amd64" }
const wanted = { what: "fuzz", tag: undefined, platform }
const interesting: readonly [unknown, ...unknown[]] = [
  null,
  -1,
  0,
  1,
  2 ** 31,
  2 ** 53,
  1e308,
  "",
  "x",
  "\0",
  "../..",
  "sha256:",
  "\ud800",
  "__proto__",
  true,
  [],
  {},
  [[]],
  "application/vnd.oci.image.index.v1+json",
  `sha256:${"0".repeat(64)}`,
  "y".repeat(5000),
]

/** `value` with one place in it changed, doubled or left out. */
function changed(value: unknown, random: Random): unknown {
  if (random.below(4) === 0 || typeof value !== "object" || value === null)
    return random.below(20) === 0 ? value : random.pick(interesting)
  if (Array.isArray(value)) {
    const list: unknown[] = [...(value as unknown[])]
    const at = random.below(list.length + 1)
    if (at === list.length) list.push(list[0] ?? random.pick(interesting))
    else if (random.below(4) === 0) list.splice(at, 1)
    else list[at] = changed(list[at], random)
    return list
  }
  const entries = Object.entries<unknown>(value as Json)
  const at = random.below(entries.length + 1)
  const [key, old] = entries[at] ?? ["extra", null]
  if (random.below(5) === 0) entries.splice(at, 1)
  else entries.splice(at, 1, [key, changed(old, random)])
  return Object.fromEntries(entries)
}

class Draft {
  readonly blobs = new Map<string, Uint8Array>()
  readonly random: Random
  /** Which document is changed; others stay as they are. */
  readonly victim: number
  #count = 0

  constructor(random: Random) {
    this.random = random
    this.victim = random.below(8)
  }

  json(value: unknown): Uint8Array {
    const mine = this.#count === this.victim
    this.#count += 1
    const bytes = utf8(JSON.stringify(mine ? changed(value, this.random) : value))
    return mine && this.random.below(4) === 0 ? this.flipped(bytes) : bytes
  }

  flipped(bytes: Uint8Array): Uint8Array {
    const copy = Uint8Array.from(bytes)
    const at = this.random.below(Math.max(1, copy.length))
    if (this.random.below(3) === 0) return copy.subarray(0, at)
    copy[at] = this.random.below(256)
    return copy
  }

  blob(bytes: Uint8Array, mediaType: string): Json {
    const digest = sha256(bytes)
    const damaged = this.random.below(60) === 0
    this.blobs.set(digest, damaged ? this.flipped(bytes) : bytes)
    return { mediaType, digest, size: bytes.length, platform }
  }
}

const seeds = seedTars()
const fixed = layer(member({ name: "d/x", data: "x" }), member({ name: "d/.wh.y", data: "" }))

function layersOf(draft: Draft): readonly Uint8Array[] {
  const { random } = draft
  return [
    random.pick(seeds),
    random.below(3) === 0 ? mutate(random.pick(seeds), random) : fixed.blob,
  ]
}

function asLayout(draft: Draft): SourceImage {
  const plain = layersOf(draft)
  const stored = plain.map((tar) => {
    const kind = draft.random.below(3)
    if (kind === 0) return draft.blob(tar, tarType)
    return kind === 1
      ? draft.blob(gzipSync(tar, { level: 1 }), `${tarType}+gzip`)
      : draft.blob(zstdCompressSync(tar), `${tarType}+zstd`)
  })
  const rootfs = { type: "layers", diff_ids: plain.map(sha256) }
  const config = draft.json({
    ...platform,
    config: { Env: ["A=b"], Volumes: { "/v": {} } },
    rootfs,
  })
  const layers = stored
  const manifest = draft.json({ schemaVersion: 2, config: draft.blob(config, configType), layers })
  const list = draft.json({ schemaVersion: 2, manifests: [draft.blob(manifest, manifestType)] })
  const index = draft.json({ schemaVersion: 2, manifests: [draft.blob(list, indexType)] })
  const find = (digest: string) => {
    const found = draft.blobs.get(digest)
    return found === undefined ? undefined : contentOfBytes(found)
  }
  return openIndexed({ find, close: () => undefined }, index, wanted)
}

function asArchive(draft: Draft): SourceImage {
  const layers = layersOf(draft)
  const names = layers.map((_, i) => `${i}/layer.tar`)
  const config = draft.json({
    ...platform,
    rootfs: { type: "layers", diff_ids: layers.map(sha256) },
  })
  const listed = draft.json([{ Config: "config.json", RepoTags: ["a:1"], Layers: names }])
  const tar = rawTar(
    ...layers.map((data, i) => member({ name: names[i] ?? "", data })),
    member({ name: "config.json", data: config }),
    member({ name: "manifest.json", data: listed }),
  )
  const source = contentOfBytes(draft.random.below(4) === 0 ? mutate(tar, draft.random) : tar)
  return openArchive(source, wanted, () => undefined)
}

async function readOrRefuse(draft: Draft): Promise<"read" | "refused"> {
  try {
    const image = draft.random.below(3) === 0 ? asArchive(draft) : asLayout(draft)
    const tree = await imageTree(image, () => undefined)
    assert.ok([...walk(tree.root)].length < 5000)
    tree.close()
    return "read"
  } catch (error) {
    assert.ok(error instanceof CofferError, String(error))
    assert.ok(["integrity", "config", "missing", "usage"].includes(error.code), error.code)
    assert.doesNotMatch(error.message, /[\p{Cc}\p{Cf}]/u)
    assert.ok(error.message.length < 1000)
    return "refused"
  }
}

/** Runs `count` cases from a seed, and says how many were read. The seed is in the message of a failure. */
export async function fuzzImages(seed: number, count: number): Promise<number> {
  let readCount = 0
  for (let i = 0; i < count; i++)
    try {
      if ((await readOrRefuse(new Draft(new Random(seed + i)))) === "read") readCount += 1
    } catch (cause) {
      throw new Error(`seed ${seed + i}: ${String(cause)}`, { cause })
    }
  return readCount
}
