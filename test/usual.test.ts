/**
 * A start reads JSON without its schema where it has its usual form. What such a reader takes, the schema must take with the same
 * result: held against each other on whole documents in which something has been changed.
 */
import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { readManifest } from "../src/manifest/measured-schema.ts"
import { usualManifest } from "../src/manifest/measured-usual.ts"
import { readEngineConfig } from "../src/runtime/engine-config-schema.ts"
import { usualEngineConfig } from "../src/runtime/engine-config-usual.ts"

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
    { kind: "scratch", path: "/c", exec: false, size: 8192 },
    { kind: "host", path: "/d", format: "hosts" },
    { kind: "measured", path: "/b/e" },
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

/** Order of the fields included: it decides what is refused first. */
function asText(value: unknown): string {
  return JSON.stringify(value)
}

interface Pair {
  readonly document: Json
  readonly usual: (value: Json) => unknown
  /** Undefined: refused. */
  readonly schema: (value: Json) => unknown
}

const pairs: Readonly<Record<string, Pair>> = {
  manifest: {
    document: manifest,
    usual: usualManifest,
    schema: (value) => {
      const read = readManifest(value)
      return typeof read === "string" ? undefined : read
    },
  },
  "config.json": {
    document: config,
    usual: usualEngineConfig,
    schema: (value) => {
      const read = readEngineConfig(value)
      return "config" in read ? read.config : undefined
    },
  },
}

for (const [name, { document, usual, schema }] of Object.entries(pairs)) {
  const agree = (value: Json) => {
    const read = usual(value)
    if (read !== undefined) assert.equal(asText(read), asText(schema(value)))
  }

  test(`${name}: the usual form needs no schema`, () => {
    assert.equal(asText(usual(document)), asText(schema(document)))
    assert.notEqual(usual(document), undefined)
  })

  test(`${name}: with one change anywhere, what the reader takes the schema takes`, () => {
    for (const at of placesIn(document))
      for (const by of strange)
        for (let how = 0; how < 4; how += 1) agree(changed(document, at, by, how))
  })

  test(`${name}: with several changes, what the reader takes the schema takes`, () => {
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
      { numRuns: 2000 },
    )
  })
}
