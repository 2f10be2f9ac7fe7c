import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type TestContext, test } from "node:test"
import { type ImageConfigJson, layoutOf } from "../../test/support/image.ts"
import { utf8, utf8OfByteString } from "../bytes/index.ts"
import { CofferError, type ErrorCode } from "../errors.ts"
import { parseCofferYaml } from "../manifest/index.ts"
import { imageTree, openImage, parseImageReference } from "../oci/index.ts"
import { parsePolicy } from "../policy/index.ts"
import { readSealed, type SignInput, sealedPath, sourceOfBytes } from "../seal/index.ts"
import { readSigningKey } from "../sgx/index.ts"
import { contentOfBytes, lookup, plainDirectory, TreeBuilder } from "../tree/index.ts"
import {
  openService,
  type ProtectInput,
  type ProtectResult,
  policySkeleton,
  protectImage,
  signImage,
} from "./index.ts"

const testSigning: SignInput = {
  key: readSigningKey(readFileSync("test/vectors/sgx/test-key.pem", "utf8"), "test-key.pem"),
  isvProdId: 1,
  isvSvn: 3,
  date: "20260102",
}

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
function makeImage(directory: string, config: ImageConfigJson): string {
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
  return layoutOf(tree.finish(), directory, config)
}

const shop: ImageConfigJson = {
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

function protect(
  from: string,
  to: string,
  options: string | Partial<ProtectInput> = {},
): Promise<ProtectResult> {
  const yaml = typeof options === "string" ? options : "version: 1\n"
  return protectImage({
    from: parseImageReference(from),
    to: parseImageReference(to),
    service: parseCofferYaml(yaml, "coffer.yaml"),
    name: "shop",
    input: noInput(),
    output: () => assert.fail("nothing goes to standard output"),
    progress: () => () => undefined,
    ...(typeof options === "string" ? {} : options),
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
  const cases: readonly (readonly [ImageConfigJson, string, ErrorCode, RegExp])[] = [
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

test("signing the image afterwards gives the image that protect --sign makes", async (t) => {
  const from = makeImage(join(scratch(t), "src"), shop)
  const [now, later] = [join(scratch(t), "dst"), join(scratch(t), "dst")]
  const signed = await protect(from, `oci:${now}:1`, { sign: testSigning })
  await protect(from, `oci:${later}:1`)
  const claims = await signImage({
    reference: parseImageReference(`oci:${later}`),
    sign: testSigning,
    input: noInput(),
    output: () => assert.fail("nothing goes to standard output"),
    onProgress: () => undefined,
  })
  assert.equal(claims.isvSvn, 3)
  const [first, second] = [now, later].map((place) =>
    readFileSync(join(place, "index.json"), "utf8"),
  )
  assert.equal(second, first)
  assert.ok(first?.includes(signed.digest))
})

test("the policy skeleton names the measurement and the volumes, and parses", async (t) => {
  const from = makeImage(join(scratch(t), "src"), shop)
  let text = ""
  const { mrEnclave } = await protect(from, `oci:${join(scratch(t), "dst")}`, {
    sign: testSigning,
    onSealed(sealed) {
      text = policySkeleton(sealed, { accessKey: "ab".repeat(32) })
    },
  })
  const policy = parsePolicy(text, "skeleton")
  assert.deepEqual(policy.services["shop"]?.measurements, [mrEnclave])
  assert.deepEqual(Object.keys(policy.volumes), ["data"])
  assert.deepEqual(policy.access.keys, { owner: "ab".repeat(32) })
})

test("an image that is not protected has no service", async (t) => {
  const from = makeImage(join(scratch(t), "src"), shop)
  await assert.rejects(
    openService(parseImageReference(from), noInput(), () => undefined),
    (error) => error instanceof CofferError && error.reason === "not-protected",
  )
})
