/**
 * A start reads values by the notes of `lazy-zod.ts` where they have their usual form, and asks zod about all others. So nothing may
 * come out that zod alone would not say: held against each other on whole documents in which something has been changed.
 */
import assert from "node:assert/strict"
import { after, test } from "node:test"
import fc from "fast-check"
import { z } from "zod"
import { canonicalJson, type JsonValue } from "../src/bytes/index.ts"
import { lazyZod } from "../src/bytes/lazy-zod.ts"
import type * as cas from "../src/cas/index.ts"
import type * as casSupport from "./support/cas.ts"
import { lazily } from "./support/lazily.ts"
import { asked } from "./support/lazily-zod.ts"

const hash = "a7".repeat(32)

const manifest = {
  format: "coffer/manifest/1",
  arch: "x86-64",
  name: "shop-web",
  binary: "/usr/bin/python3",
  argv: ["python3", "/app/main.py"],
  args: { allow: ["--port=[0-9]+"] },
  cwd: "/",
  user: { uid: 1000, gid: 1000, groups: [4, 27] },
  env: { set: { PATH: "/usr/bin" }, allow: { TZ: "[A-Za-z/]+" } },
  exec: [["/app/check", "-v"]],
  stdin: "none",
  readOnly: false,
  debug: false,
  stopSignal: "SIGTERM",
  regions: [
    { kind: "image", path: "/a", protection: "encrypted", store: "a", exec: false, tag: hash },
    { kind: "volume", path: "/b", protection: "encrypted", volume: "b", exec: true, seed: false },
    { kind: "measured", path: "/b/e" },
    { kind: "scratch", path: "/c", exec: false, size: 8192 },
    { kind: "host", path: "/d", format: "hosts" },
  ],
  cas: { publicKey: hash },
  source: { image: `sha256:${hash}` },
  binfs: { offset: 20480, size: 40960 },
  verity: { offset: 61440, size: 4096, rootHash: hash },
}

const config = {
  ociVersion: "1.0.2-dev",
  process: {
    terminal: true,
    consoleSize: { height: 24, width: 80 },
    user: { uid: 0, gid: 0 },
    args: ["/coffer/service"],
    env: ["PATH=/bin"],
    cwd: "/",
    capabilities: { bounding: ["CAP_CHOWN"], ambient: ["CAP_KILL"], permitted: null },
    rlimits: [{ type: "RLIMIT_NOFILE", hard: 1000, soft: 1000, other: 1 }],
    noNewPrivileges: true,
    apparmorProfile: "p",
    selinuxLabel: "l",
    oomScoreAdj: -5,
  },
  root: { path: "/merged", readonly: true },
  hostname: "h",
  domainname: null,
  mounts: [
    { destination: "/data", type: "bind", source: "/x", options: ["bind"], uidMappings: [] },
  ],
  hooks: { prestart: [{ path: "/bin/true" }] },
  annotations: { "io.container.manager": "libpod" },
  linux: {
    uidMappings: [{ containerID: 0, hostID: 1000, size: 1, more: 2 }],
    gidMappings: null,
    sysctl: { "net.ipv4.ping_group_range": "0 0" },
    resources: { pids: { limit: 2048 }, devices: [{ allow: false, access: "rwm" }] },
    cgroupsPath: "/c",
    namespaces: [{ type: "pid" }, { type: "network", path: "/n", x: 1 }],
    seccomp: { defaultAction: "SCMP_ACT_ERRNO" },
    maskedPaths: ["/proc/kcore"],
    readonlyPaths: [],
    intelRdt: {},
  },
}

type Json = unknown

/** All places in it, as paths. */
function placesIn(value: Json): (string | number)[][] {
  if (typeof value !== "object" || value === null) return [[]]
  const inside = Array.isArray(value)
    ? value.map((item, i) => [i, item] as const)
    : Object.entries(value)
  return [[], ...inside.flatMap(([name, item]) => placesIn(item).map((at) => [name, ...at]))]
}

const strange: readonly Json[] = [
  null,
  true,
  0,
  -1,
  4096,
  4097,
  1.5,
  2 ** 32,
  2 ** 53,
  "",
  "/",
  "/..",
  "a",
  "A B",
  "x\0",
  "\ud800",
  "[",
  "SIGKILL",
  hash,
  [],
  {},
  [null],
  [["a"]],
  [1],
  { a: 1 },
  { type: "pid" },
  { kind: "measured", path: "/z" },
  "x".repeat(131_072),
  Array.from({ length: 1025 }, () => "a"),
]

/** The document with the value at this place replaced (by nothing: removed), or a field or an item more. */
function changed(document: Json, at: readonly (string | number)[], by: Json, how: number): Json {
  const copy = structuredClone(document) as Record<string | number, Json>
  let inside = copy
  for (const name of at.slice(0, -1)) inside = inside[name] as typeof copy
  const last = at.at(-1)
  if (last === undefined) return how === 0 ? by : { ...copy, more: by }
  const value = inside[last]
  if (how === 0) inside[last] = by
  else if (how === 1 && !Array.isArray(inside)) delete inside[last]
  else if (Array.isArray(value)) value.push(by)
  else if (typeof value === "object" && value !== null)
    Object.defineProperty(value, how === 2 ? "more" : "__proto__", {
      value: by,
      enumerable: true,
      configurable: true,
      writable: true,
    })
  return copy
}

/** What comes out of it, the order of fields included: it decides what is refused first. */
function outcome(read: (value: Json) => unknown, value: Json): string {
  try {
    return JSON.stringify(read(value))
  } catch (error) {
    return String(error)
  }
}

type Read = (value: Json) => unknown

interface Subject {
  readonly document: Json
  /** The module, and what reads the document in it. */
  readonly path: string
  readonly read: (module: Readonly<Record<string, never>>) => Read
}

/** By its schema alone. */
function schemaOf(name: string): Subject["read"] {
  return (module) => (value) => {
    const parsed = (module[name] as unknown as z.ZodType | undefined)?.safeParse(value)
    assert.ok(parsed !== undefined)
    return parsed.success ? parsed.data : parsed.error.issues
  }
}

function call(name: string, argument: (value: Json) => unknown, what?: string): Subject["read"] {
  return (module) => (value) =>
    (module[name] as unknown as (...words: unknown[]) => unknown)(argument(value), what)
}

const signed = { cas: hash, sequence: 7, hash, time: 1_700_000_000_000, signature: "b8".repeat(64) }

const grant = {
  name: "data",
  instance: 0,
  id: hash,
  access: "write",
  protection: "encrypted",
  keys: [{ generation: 0, key: hash }],
  freshness: "strict",
  state: "open",
  sequence: 3,
  tag: hash,
  hint: { segment: hash, offset: 4096, opening: 2 },
  epoch: 4,
  token: hash,
  leaseMs: 30_000,
  restored: { from: hash, to: hash, time: 1 },
}

const policy = {
  version: 1,
  name: "shop",
  services: {
    web: {
      measurements: [hash],
      signer: { mrsigner: hash, product: 7, minSvn: 3 },
      platforms: ["dev", "snp"],
      argv: ["/app/main"],
      env: { TOKEN: "$$secret:token$$" },
      files: { "/etc/tls.pem": { content: "x", mode: "0440" } },
      volumes: { data: "write", slow: "read" },
      regions: { "/app": { key: "token" } },
    },
  },
  platforms: {
    dev: { type: "insecure-sim" },
    snp: { type: "sev-snp", products: ["milan"], measurement: ["cd".repeat(48)], maxAge: "2h" },
    azure: {
      type: "azure",
      hardware: { type: "sev-snp", products: ["genoa"], measurement: ["cd".repeat(48)] },
      pcrs: { 11: [hash] },
    },
  },
  volumes: { data: {}, slow: { freshness: { count: 100, age: "30s" }, instances: 2 } },
  secrets: { token: { kind: "random" }, ca: { kind: "x509-ca", commonName: "Shop CA" } },
  access: { keys: { alice: hash }, update: { of: ["alice"] } },
}

const subjects: Readonly<Record<string, Subject>> = {
  manifest: {
    document: manifest,
    path: "src/manifest/measured.ts",
    read: call("parseManifest", (value) => canonicalJson(value as JsonValue)),
  },
  "config.json": {
    document: config,
    path: "src/runtime/engine-config.ts",
    read: call("parseEngineConfig", (value) => JSON.stringify(value)),
  },
  policy: {
    document: policy,
    path: "src/policy/document.ts",
    read: call("policyFromValue", (value) => value, "policy"),
  },
  evidence: {
    document: {
      version: 1,
      platform: {
        type: "insecure-sim",
        nonce: hash,
        nodeKey: hash,
        key: hash,
        signature: signed.signature,
      },
      report: { body: "ef".repeat(144), signature: signed.signature },
      ephemeralKey: hash,
    },
    path: "src/attest/evidence/schema.ts",
    read: call("parseEvidence", (value) => value),
  },
  request: {
    document: {
      policy: "shop",
      service: "web",
      nonce: hash,
      evidence: { any: [1] },
      volumes: [
        { name: "data", instance: 1 },
        { name: "slow", access: "read", takeover: true },
      ],
      seen: signed,
    },
    path: "src/cas/attestation.ts",
    read: schemaOf("attestRequestSchema"),
  },
  answer: {
    document: {
      version: 1,
      policy: "shop",
      policyHash: hash,
      service: "web",
      platform: "dev",
      platformType: "insecure-sim",
      argv: ["/app/main"],
      env: { TOKEN: "x" },
      files: [{ path: "/a", content: "eA==", mode: "0400", uid: 0, gid: 0 }],
      regions: [{ path: "/app", key: hash }],
      volumes: [grant, { ...grant, keys: [], freshness: { count: 1, age: 2 }, access: "read" }],
      head: signed,
    },
    path: "src/cas/configuration.ts",
    read: schemaOf("answerSchema"),
  },
  volume: {
    document: {
      id: hash,
      protection: "encrypted",
      keys: [{ generation: 0, key: hash }],
      state: "open",
      sequence: 3,
      tag: hash,
      epoch: 2,
      lease: {
        session: hash,
        service: "web",
        node: hash,
        expires: 5,
        accepted: {
          platform: "dev",
          enclave: { mrEnclave: hash, product: 7, svn: 3, debug: false, runtimeVersion: "0.1.0" },
        },
      },
      highestSvn: 3,
      moved: 9,
    },
    path: "src/cas/volumes.ts",
    read: schemaOf("volumeRowSchema"),
  },
}

type Module = Readonly<Record<string, never>>

for (const [name, { document, path, read }] of Object.entries(subjects)) {
  const ours = read((await lazily(path)) as Module)
  const zods = read((await import(`../${path}`)) as Module)
  const agree = (value: Json) => assert.equal(outcome(ours, value), outcome(zods, value))

  test(`${name}: the usual form needs no zod`, () => {
    const before = asked.count
    agree(document)
    assert.equal(asked.count, before)
    assert.doesNotMatch(outcome(ours, document), /wanted|"code"/)
  })

  test(`${name}: with one change anywhere, the same comes out as with zod`, () => {
    for (const at of placesIn(document))
      for (const by of strange)
        for (let how = 0; how < 4; how += 1) agree(changed(document, at, by, how))
  })

  test(`${name}: with several changes, the same comes out as with zod`, () => {
    const change = fc.tuple(fc.nat(), fc.constantFrom(...strange), fc.nat(3))
    fc.assert(
      fc.property(fc.array(change, { minLength: 2, maxLength: 4 }), (changes) => {
        let value: Json = document
        for (const [i, by, how] of changes) {
          const places = placesIn(value)
          value = changed(value, places[i % places.length] ?? [], by, how)
          if (typeof value !== "object" || value === null) break
        }
        agree(value)
      }),
      { numRuns: 500 },
    )
  })
}

test("an attestation and the moves of a tag with an embedded CAS need no zod", async () => {
  const support = (await lazily("test/support/cas.ts")) as typeof casSupport
  const { Node, person, policyText, putPolicy, scratch } = support
  const { openCasAnchor, openEmbeddedCas } = (await lazily("src/cas/index.ts")) as typeof cas
  const place = scratch()
  after(place.remove)
  const alice = person()
  const before = await openEmbeddedCas(place.dir)
  await putPolicy(before.cas, policyText(alice.public), [alice])
  await before.close()
  const count = asked.count
  const { client } = await openEmbeddedCas(place.dir)
  const node = await new Node().prepare(client)
  const makeEvidence = (binding: Parameters<typeof node.evidence>[0]) => node.evidence(binding)
  const { volumes } = await client.attest({ policy: "shop", service: "web", makeEvidence })
  await client.close()
  for (const volume of volumes) {
    const anchor = openCasAnchor({ type: "embedded", dir: place.dir }, "shop", volume)
    assert.equal(anchor.read(), "new")
    const state = { volumeId: new Uint8Array(), sequence: 1, tag: new Uint8Array(32).fill(1) }
    assert.equal(
      anchor.move("new", { ...state, epoch: 1, salt: new Uint8Array(32), offset: 0 }),
      true,
    )
    anchor.close()
  }
  assert.equal(volumes.length, 2)
  assert.equal(asked.count, count)
})

/** Values that no JSON has. */
const foreign: readonly unknown[] = [
  undefined,
  new Date(0),
  new Map(),
  Number.NaN,
  1n,
  Symbol("s"),
  Object.create(null),
  Object.create({ a: "inherited" }),
  { a: undefined },
  [undefined],
  new (class Point {
    a = "x"
  })(),
]

/** Of each kind that the notes know, and some that they do not. */
function schemasOf(of: typeof z) {
  return [
    of.strictObject({ a: of.string().optional() }),
    of.object({ a: of.unknown() }),
    of.looseObject({ a: of.unknown().optional() }),
    of.record(of.string(), of.unknown()),
    of.record(of.enum(["a", "b"]), of.string()),
    of.array(of.unknown()),
    of.union([of.strictObject({ a: of.string() }), of.unknown()]),
    of.object({ a: of.string().trim().min(1) }),
    of.object({ a: of.coerce.number() }),
    of.object({ a: of.iso.datetime().optional() }).strict(),
    of.string().regex(/^a$/gi),
    of.int().default(7).optional(),
    of.object({ a: of.string().default("b").optional() }),
    of.object({ a: of.string().transform(() => undefined) }),
    of
      .object({ a: of.strictObject({ b: of.int() }).refine(({ b }) => b > 1) })
      .extend({ c: of.null() }),
  ]
}

test("whatever is no JSON, and whatever the notes do not know, is zod's", () => {
  const json = [
    null,
    1,
    2 ** 60,
    "a",
    "A",
    " ",
    "1",
    [],
    ["a"],
    {},
    { a: "a" },
    { a: "1" },
    { a: null },
  ]
  const objects = [{ a: { b: 2 }, c: null }, { a: { b: 1 }, c: null }, { a: " " }, { a: "a", d: 1 }]
  const [ours, zods] = [schemasOf(lazyZod(() => z)), schemasOf(z)]
  for (const [i, schema] of ours.entries())
    for (const value of [...json, ...objects, ...foreign]) {
      const [left, right] = [schema, zods[i]].map((one) => one?.safeParse(value))
      assert.equal(left?.success, right?.success, `${i} ${typeof value}`)
      if (left?.success === true) assert.deepEqual(left.data, right?.data)
      else assert.deepEqual(left?.error.issues, right?.error?.issues)
    }
})

test("a default that is handed out is nobody else's", () => {
  const { object, array, string } = lazyZod(() => z)
  const schema = object({ list: array(string()).default([]) })
  schema.parse({}).list.push("x")
  assert.deepEqual(schema.parse({}), { list: [] })
})
