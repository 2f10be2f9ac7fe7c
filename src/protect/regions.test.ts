import assert from "node:assert/strict"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type TestContext, test } from "node:test"
import { layoutOf } from "../../test/support/image.ts"
import { toHex, utf8, utf8OfByteString } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { parseCofferYaml } from "../manifest/index.ts"
import { parseImageReference } from "../oci/index.ts"
import { parsePolicy } from "../policy/index.ts"
import { openTree, readSealed } from "../seal/index.ts"
import { readSigningKey } from "../sgx/index.ts"
import { contentOfBytes, lookup, plainDirectory, TreeBuilder, walk } from "../tree/index.ts"
import {
  openService,
  type ProtectResult,
  policySkeleton,
  protectImage,
  type RegionStore,
  signImage,
} from "./index.ts"

const program = Buffer.concat([
  Buffer.from("7f454c4602010100000000000000000002003e00", "hex"),
  Buffer.alloc(100, 1),
])
const key = Buffer.alloc(32, 5)
const secret = "the weights of the secret model"
const at = utf8OfByteString

function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "protect-regions-"))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** `built`: the time of the directories, as an image builder leaves it. */
function makeImage(directory: string, files: Readonly<Record<string, string>>, built = 0): string {
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  for (const path of ["/", "/app", "/app/model"])
    tree.putDirectory(at(path), { ...plainDirectory, mtime: { seconds: built, nanoseconds: 0 } })
  const put = (path: string, bytes: Uint8Array, mode: number) => {
    const meta = { ...plainDirectory, mode }
    tree.put(at(path), { kind: "file", meta, content: contentOfBytes(bytes) })
  }
  put("/usr/bin/service", program, 0o755)
  for (const [path, text] of Object.entries(files)) put(path, utf8(text), 0o644)
  return layoutOf(tree.finish(), directory, { Entrypoint: ["service"] })
}

const model = { "/app/model/weights": secret, "/app/model/public/readme": "read me" }
const encrypted = "{ path: /app/model, protection: encrypted, lifetime: ephemeral }"

async function* noInput(): AsyncGenerator<Uint8Array> {}

interface Made extends ProtectResult {
  readonly skeleton: string
}

async function protect(from: string, to: string, ...regions: string[]): Promise<Made> {
  let skeleton = ""
  const result = await protectImage({
    from: parseImageReference(from),
    to: parseImageReference(to),
    service: parseCofferYaml(`version: 1\nregions: [${regions.join(", ")}]\n`, "coffer.yaml"),
    name: "shop",
    key: () => key,
    input: noInput(),
    output: () => undefined,
    progress: () => () => undefined,
    onSealed(sealed, _source, stores: readonly RegionStore[]) {
      skeleton = policySkeleton(sealed, { accessKey: "ab".repeat(32), regions: stores })
    },
  })
  return { ...result, skeleton }
}

function bytesOf(directory: string): string {
  return readdirSync(join(directory, "blobs/sha256"))
    .map((name) => readFileSync(join(directory, "blobs/sha256", name), "latin1"))
    .join("")
}

test("encrypted content of the image is in a store of its own, and nowhere in clear", async (t) => {
  const from = makeImage(join(scratch(t), "src"), model)
  const to = join(scratch(t), "dst")
  const { regions, skeleton, warnings } = await protect(from, `oci:${to}:1`, encrypted)
  assert.deepEqual(warnings, [])
  assert.equal(regions.length, 1)
  const [{ tag, fileCount, size } = { tag: "", fileCount: 0, size: 0 }] = regions
  assert.deepEqual([fileCount, size], [2, secret.length + 7])
  assert.doesNotMatch(bytesOf(to), /secret model|weights|read me/)
  const service = await openService(parseImageReference(`oci:${to}:1`), noInput(), () => undefined)
  t.after(() => service.close())
  assert.deepEqual(
    service.stores.map(({ name }) => name),
    ["app-model"],
  )
  const policy = parsePolicy(skeleton, "skeleton")
  assert.deepEqual(policy.services["shop"]?.regions, { "/app/model": { tag, key: "image-key" } })
  assert.equal(policy.secrets["image-key"]?.kind, "given")
  assert.ok(!skeleton.includes(toHex(key)))
})

test("the same image and key give the same image; other content the same MrEnclave, and another tag", async (t) => {
  const from = makeImage(join(scratch(t), "src"), model)
  const changed = { ...model, "/app/model/weights": "newer" }
  const newer = makeImage(join(scratch(t), "src"), changed, 1_700_000_000)
  const [one, two, three] = [join(scratch(t), "a"), join(scratch(t), "b"), join(scratch(t), "c")]
  const first = await protect(from, `oci:${one}:1`, encrypted)
  assert.equal((await protect(from, `oci:${two}:1`, encrypted)).digest, first.digest)
  const renewed = await protect(newer, `oci:${three}:1`, encrypted)
  assert.equal(renewed.mrEnclave, first.mrEnclave)
  assert.notEqual(renewed.regions[0]?.tag, first.regions[0]?.tag)
})

test("measured: true: the tag is in the manifest, and other content is another MrEnclave", async (t) => {
  const region = "{ path: /app/model, protection: encrypted, lifetime: ephemeral, measured: true }"
  const from = makeImage(join(scratch(t), "src"), model)
  const newer = makeImage(join(scratch(t), "src"), { ...model, "/app/model/weights": "newer" })
  const [one, two] = [join(scratch(t), "a"), join(scratch(t), "b")]
  const first = await protect(from, `oci:${one}:1`, region)
  const [found] = first.manifest.regions
  assert.ok(found?.kind === "image")
  assert.equal(found.tag, first.regions[0]?.tag)
  assert.notEqual((await protect(newer, `oci:${two}:1`, region)).mrEnclave, first.mrEnclave)
  const policy = parsePolicy(first.skeleton, "skeleton")
  assert.deepEqual(policy.services["shop"]?.regions, { "/app/model": { key: "image-key" } })
})

test("authenticated content needs no key, and can be read", async (t) => {
  const from = makeImage(join(scratch(t), "src"), model)
  const to = join(scratch(t), "dst")
  const region = "{ path: /app/model, protection: authenticated, lifetime: ephemeral }"
  const { skeleton } = await protect(from, `oci:${to}:1`, region)
  assert.match(bytesOf(to), /the secret model/)
  const { secrets } = parsePolicy(skeleton, "skeleton")
  assert.deepEqual(secrets, {})
})

test("regions in regions: each file is in its innermost one, and mount points are there", async (t) => {
  const from = makeImage(join(scratch(t), "src"), {
    ...model,
    "/app/model/cache/old": "left over",
    "/app/model/static/logo": "logo",
    "/app/model/public/inner/deep": "deep",
  })
  const to = join(scratch(t), "dst")
  const { regions } = await protect(
    from,
    `oci:${to}:1`,
    encrypted,
    "{ path: /app/model/public, protection: measured }",
    "{ path: /app/model/public/inner, protection: encrypted, lifetime: ephemeral }",
    "{ path: /app/model/cache, protection: encrypted, lifetime: ephemeral, size: 1MiB }",
    "{ path: /app/model/static, protection: authenticated, lifetime: ephemeral }",
    "{ path: /app/model/hosts, protection: none, source: host }",
  )
  assert.deepEqual(
    regions.map(({ region, fileCount, size }) => [region.path, fileCount, size]),
    [
      ["/app/model", 2, secret.length], // and the mount point of the host's file
      ["/app/model/public/inner", 1, 4],
      ["/app/model/static", 1, 4],
    ],
  )
  const service = await openService(parseImageReference(`oci:${to}:1`), noInput(), () => undefined)
  t.after(() => service.close())
  const bytes = new Uint8Array(service.sealed.size)
  service.sealed.read(bytes, 0)
  const source = { size: bytes.length, read: service.sealed.read.bind(service.sealed) }
  const root = openTree(source, readSealed(source).manifest)
  const app = lookup(root, at("/app"))
  assert.ok(app?.kind === "directory")
  assert.deepEqual(
    [...walk(app)].map(({ path }) => path),
    [
      "/",
      "/model",
      "/model/cache",
      "/model/hosts",
      "/model/public",
      "/model/public/inner",
      "/model/public/readme",
      "/model/static",
    ],
  )
})

function indexOf(place: string): string {
  return readFileSync(join(place, "index.json"), "utf8")
}

test("signing the image afterwards keeps its stores, and gives what protect --sign makes", async (t) => {
  const from = makeImage(join(scratch(t), "src"), model)
  const to = join(scratch(t), "dst")
  await protect(from, `oci:${to}:1`, encrypted)
  const pem = readFileSync("test/vectors/sgx/test-key.pem", "utf8")
  const sign = { key: readSigningKey(pem, "key"), isvProdId: 1, isvSvn: 3, date: "20260102" }
  await signImage({
    reference: parseImageReference(`oci:${to}:1`),
    sign,
    input: noInput(),
    output: () => undefined,
    onProgress: () => undefined,
  })
  const once = join(scratch(t), "once")
  await protectImage({
    from: parseImageReference(from),
    to: parseImageReference(`oci:${once}:1`),
    service: parseCofferYaml(`version: 1\nregions: [${encrypted}]\n`, "coffer.yaml"),
    name: "shop",
    key: () => key,
    sign,
    input: noInput(),
    output: () => undefined,
    progress: () => () => undefined,
  })
  assert.equal(indexOf(to), indexOf(once))
})

test("what overlayfs would interpret, and a program in a region, are refused", async (t) => {
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  const meta = { ...plainDirectory, mode: 0o755 }
  const content = contentOfBytes(program)
  tree.put(at("/usr/bin/service"), { kind: "file", meta, content })
  tree.put(at("/app/model/gone"), { kind: "character", meta, major: 0, minor: 0 })
  const from = layoutOf(tree.finish(), join(scratch(t), "src"), { Entrypoint: ["service"] })
  const to = `oci:${join(scratch(t), "dst")}:1`
  await assert.rejects(
    protect(from, to, encrypted),
    /\/app\/model\/gone: wanted nothing that overlayfs would interpret, found a character device 0:0/,
  )
  await assert.rejects(
    protect(from, to, "{ path: /usr, protection: encrypted, lifetime: ephemeral }"),
    /service\.binary: wanted a measured file, found \/usr\/bin\/service in the region \/usr/,
  )
})

test("what cannot be a region is refused by name", async (t) => {
  const from = makeImage(join(scratch(t), "src"), model)
  const cases: readonly (readonly [string[], RegExp])[] = [
    [
      ["{ path: /nowhere, protection: encrypted, lifetime: ephemeral }"],
      /regions: \/nowhere: wanted a directory of the image/,
    ],
    [
      ["{ path: /app/model/weights, protection: encrypted, lifetime: ephemeral }"],
      /regions: \/app\/model\/weights: wanted a directory of the image/,
    ],
    [
      [encrypted, "{ path: /app-model, protection: encrypted, lifetime: ephemeral }"],
      /found \/app-model and \/app\/model/,
    ],
    [
      ["{ path: /x, protection: authenticated, lifetime: ephemeral, size: 1MiB }"],
      /protection: encrypted for what begins empty/,
    ],
    [
      ["{ path: /x, protection: encrypted, lifetime: ephemeral, size: 1MiB, measured: true }"],
      /no measured with protection encrypted/,
    ],
  ]
  for (const [regions, message] of cases)
    await assert.rejects(protect(from, `oci:${join(scratch(t), "dst")}:1`, ...regions), (error) => {
      assert.ok(error instanceof CofferError, String(error))
      assert.equal(error.code, "config")
      assert.match(error.message, message)
      return true
    })
})
