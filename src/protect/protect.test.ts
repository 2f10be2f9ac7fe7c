import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type TestContext, test } from "node:test"
import { concatBytes, utf8, utf8OfByteString } from "../bytes/index.ts"
import { CofferError, type ErrorCode } from "../errors.ts"
import { parseCofferYaml } from "../manifest/index.ts"
import { imageTree, LayoutWriter, openImage, parseImageReference } from "../oci/index.ts"
import { readSealed, sourceOfBytes } from "../seal/index.ts"
import { writeTar } from "../tar/index.ts"
import { contentOfBytes, lookup, plainDirectory, TreeBuilder } from "../tree/index.ts"
import { type ProtectResult, protectImage, sealedPath } from "./index.ts"

type Json = Parameters<LayoutWriter["addDocument"]>[1]

const program = Buffer.concat([
  Buffer.from("7f454c4602010100000000000000000002003e00", "hex"),
  Buffer.alloc(100, 1),
])

function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "protect-"))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** A small image: a program, a script, passwd, some data, a symlink where a region will be. */
function makeImage(directory: string, config: Json): string {
  const tree = new TreeBuilder({ duplicates: "refuse", parentSymlinks: "refuse" })
  const file = (path: string, text: string | Uint8Array, mode = 0o644) => {
    const content = contentOfBytes(typeof text === "string" ? utf8(text) : text)
    tree.put(utf8OfByteString(path), { kind: "file", meta: { ...plainDirectory, mode }, content })
  }
  file("/usr/bin/service", program, 0o755)
  file("/etc/passwd", "root:x:0:0::/:/bin/sh\nweb:x:1000:1001::/:/bin/sh\n")
  file("/etc/hosts", "left over from the build\n")
  file("/data/seed.txt", "first")
  file("/dev/null-by-accident", "x")
  tree.put(utf8OfByteString("/etc/resolv.conf"), {
    kind: "symlink",
    meta: plainDirectory,
    target: utf8OfByteString("../run/resolv.conf"),
  })
  const parts: Uint8Array[] = []
  writeTar(tree.finish(), (part) => void parts.push(Uint8Array.from(part)))
  const tar = concatBytes(...parts)
  const writer = new LayoutWriter(directory)
  const layer = writer.addBlob("application/vnd.oci.image.layer.v1.tar", (sink) => sink(tar))
  const diffId = `sha256:${createHash("sha256").update(tar).digest("hex")}`
  const configBlob = writer.addDocument("application/vnd.oci.image.config.v1+json", {
    architecture: "amd64",
    os: "linux",
    config,
    rootfs: { type: "layers", diff_ids: [diffId] },
  })
  const manifest = writer.addDocument("application/vnd.oci.image.manifest.v1+json", {
    schemaVersion: 2,
    config: { ...configBlob },
    layers: [{ ...layer }],
  })
  writer.finish(manifest, "1")
  return `oci:${directory}:1`
}

const shop: Json = {
  Entrypoint: ["service"],
  Cmd: ["--port", "80"],
  Env: ["LANG=C.UTF-8"],
  User: "web",
  Volumes: { "/data": {} },
  ExposedPorts: { "80/tcp": {} },
  StopSignal: "SIGINT",
  Labels: { team: "shop" },
}

async function* noInput(): AsyncGenerator<Uint8Array> {}

function protect(from: string, to: string, yaml = "version: 1\n"): Promise<ProtectResult> {
  return protectImage({
    from: parseImageReference(from),
    to: parseImageReference(to),
    service: parseCofferYaml(yaml, "coffer.yaml"),
    name: "shop",
    input: noInput(),
    output: () => assert.fail("nothing goes to standard output"),
    progress: () => () => undefined,
  })
}

test("with no coffer.yaml all is measured, volumes are encrypted, host files typed", async (t) => {
  const from = makeImage(join(scratch(t), "src"), shop)
  const { manifest } = await protect(from, `oci:${join(scratch(t), "dst")}`)
  assert.equal(manifest.binary, "/usr/bin/service")
  assert.deepEqual(manifest.argv, ["service", "--port", "80"])
  assert.deepEqual(manifest.user, { uid: 1000, gid: 1001, groups: [] })
  assert.equal(manifest.stopSignal, "SIGINT")
  assert.deepEqual(
    manifest.regions.map(({ kind, path }) => `${kind} ${path}`),
    ["volume /data", "host /etc/hostname", "host /etc/hosts", "host /etc/resolv.conf"],
  )
})

test("the same image gives the same bytes, and the sealed binary in it is what was measured", async (t) => {
  const from = makeImage(join(scratch(t), "src"), shop)
  const [one, two] = [join(scratch(t), "dst"), join(scratch(t), "dst")]
  const first = await protect(from, `oci:${one}`)
  const second = await protect(from, `oci:${two}`)
  assert.deepEqual(second, first)
  const blobs = readdirSync(join(one, "blobs", "sha256"))
  assert.deepEqual(readdirSync(join(two, "blobs", "sha256")), blobs)
  for (const name of blobs) {
    const bytes = readFileSync(join(one, "blobs", "sha256", name))
    assert.equal(createHash("sha256").update(bytes).digest("hex"), name)
  }
  const image = await openImage(parseImageReference(`oci:${one}:latest`), {
    platform: { os: "linux", architecture: "amd64" },
    input: noInput(),
  })
  t.after(() => image.close())
  const made = image.config.config
  assert.ok(made)
  assert.deepEqual(made.Entrypoint, [sealedPath])
  assert.equal(made.User, "1000:1001")
  assert.equal(made.Labels?.["team"], "shop")
  assert.equal(made.Labels["io.coffer.mrenclave"], first.mrEnclave)
  const tree = await imageTree(image, () => undefined)
  t.after(() => tree.close())
  const sealed = lookup(tree.root, utf8OfByteString(sealedPath))
  assert.ok(sealed?.kind === "file")
  const bytes = new Uint8Array(sealed.content.size)
  sealed.content.read(bytes, 0)
  const read = readSealed(sourceOfBytes(bytes))
  assert.equal(Buffer.from(read.mrEnclave).toString("hex"), first.mrEnclave)
})

test("what cannot be protected is refused by name", async (t) => {
  const cases: readonly (readonly [Json, string, ErrorCode, RegExp])[] = [
    [
      { Entrypoint: ["nothing"] },
      "version: 1",
      "config",
      /service.binary: wanted an executable file/,
    ],
    [{}, "version: 1", "config", /wanted a binary/],
    [{ ...(shop as object), User: "nobody" }, "version: 1", "config", /service.user/],
    [{ ...(shop as object), StopSignal: "SIGWHAT" }, "version: 1", "config", /StopSignal/],
    [
      shop,
      "version: 1\nregions: [{ path: /data/seed.txt, protection: encrypted, lifetime: persistent }]",
      "config",
      /\/data\/seed.txt: wanted a directory/,
    ],
    [shop, "version: 2", "config", /coffer.yaml:1:/],
  ]
  for (const [config, yaml, code, message] of cases) {
    const from = makeImage(join(scratch(t), "src"), config)
    const target = join(scratch(t), "dst")
    await assert.rejects(
      async () => protect(from, `oci:${target}`, yaml),
      (error) => {
        assert.ok(error instanceof CofferError, String(error))
        assert.equal(error.code, code, error.message)
        assert.match(error.message, message)
        return true
      },
    )
    assert.throws(() => readdirSync(target), /ENOENT/, "no half image is left")
  }
})
