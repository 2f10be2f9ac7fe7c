import assert from "node:assert/strict"
import { test } from "node:test"
import { parseCanonicalJson, utf8 } from "../bytes/index.ts"
import {
  compileManifest,
  diffJson,
  everythingMeasured,
  type MeasuredManifest,
  manifestWarnings,
  parseCofferYaml,
  parseManifest,
  patternMatches,
  resolveUser,
  type ServiceDefaults,
  serialiseManifest,
} from "./index.ts"

const designExample = `
version: 1
name: shop-web
service:
  binary: /usr/bin/python3.11
  args: { set: [/app/main.py], allow: ["--port=[0-9]+"] }
  user: 1000
  exec: [[/app/healthcheck]]
  stdin: none
env: { set: { LANG: C.UTF-8, WORKERS: 4 }, allow: [TZ] }
regions:
  - { path: /,            protection: measured }
  - { path: /app/model,   protection: encrypted,     lifetime: ephemeral }
  - { path: /srv/static,  protection: authenticated, lifetime: ephemeral }
  - { path: /data,        protection: encrypted,     lifetime: persistent, volume: data, seed: image }
  - { path: /var/audit,   protection: authenticated, lifetime: persistent, volume: audit }
  - { path: /tmp,         protection: encrypted,     lifetime: ephemeral, size: 64MiB }
  - { path: /etc/resolv.conf, protection: none, source: host }
`

const defaults: ServiceDefaults = {
  name: "app",
  argv: ["python3", "-m", "app"],
  env: { PATH: "/usr/bin" },
  cwd: "/srv",
  user: "app:staff",
  stopSignal: "SIGTERM",
  regions: [],
}

const passwd = "root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\n"
const group = "root:x:0:\nstaff:x:50:app\n"

function compile(yaml: string) {
  return compileManifest({
    source: parseCofferYaml(yaml, "coffer.yaml"),
    defaults,
    arch: () => "x86-64",
    user: (spec) => resolveUser(spec, passwd, group),
    executable: (name) => (name.startsWith("/") ? name : `/usr/bin/${name}`),
  })
}

function whole(yaml: string): MeasuredManifest {
  return {
    ...compile(yaml),
    binfs: { offset: 0x5000, size: 4096 },
    verity: { offset: 0x6000, size: 0, rootHash: "00".repeat(32) },
  }
}

test("what stands for a document that is not there is what an empty one says", () => {
  assert.deepEqual(everythingMeasured(), parseCofferYaml("version: 1\n", "coffer.yaml"))
})

test("the example of the design compiles", () => {
  const manifest = compile(designExample)
  assert.deepEqual(manifest.argv, ["/usr/bin/python3.11", "/app/main.py"])
  assert.deepEqual(manifest.user, { uid: 1000, gid: 1001, groups: [] })
  assert.deepEqual(manifest.env.set, { LANG: "C.UTF-8", WORKERS: "4" })
  assert.deepEqual(
    manifest.regions.map((region) => `${region.kind} ${region.path}`),
    [
      "image /app/model",
      "volume /data",
      "host /etc/resolv.conf",
      "image /srv/static",
      "scratch /tmp",
      "volume /var/audit",
    ],
  )
  assert.deepEqual(manifest.regions[1], {
    kind: "volume",
    path: "/data",
    protection: "encrypted",
    volume: "data",
    exec: false,
    seed: true,
  })
  assert.deepEqual(manifest.regions[4], {
    kind: "scratch",
    path: "/tmp",
    exec: false,
    size: 64 << 20,
  })
  assert.deepEqual(manifestWarnings(manifest), [])
})

test("with an empty coffer.yaml everything comes from the image", () => {
  const manifest = compile("version: 1")
  assert.equal(manifest.binary, "/usr/bin/python3")
  assert.deepEqual(manifest.argv, ["python3", "-m", "app"])
  assert.deepEqual(manifest.user, { uid: 1000, gid: 50, groups: [] })
  assert.equal(manifest.cwd, "/srv")
  assert.equal(manifest.name, "app")
})

test("errors name file, line, column and field", () => {
  for (const [yaml, message] of [
    ["version: 2", /^coffer\.yaml:1:1: version: wanted 1, found 2$/],
    ["version: 1\nservce: {}", /^coffer\.yaml:2:1: servce: wanted a known field/],
    [
      "version: 1\nservice:\n  stdin: yes",
      /:3:3: service\.stdin: wanted none or inherit, found "yes"/,
    ],
    [
      "version: 1\nregions:\n  - { path: a, protection: none }",
      /:3:7: regions\[0\]\.path: wanted an abs/,
    ],
    ["version: 1\nenv: { allow: { TZ: '(' } }", /env\.allow/],
    ["version: 1\nservice: { args: { allow: ['['] } }", /args\.allow\[0\]: wanted a regular/],
    ["a: [", /wanted YAML/],
    ["version: 1\nname: &a x\nservice: { cwd: *a }", /aliases/],
    ["version: 1\nversion: 1", /wanted YAML/],
    ["version: 1\nregions: [{ path: /, protection: none, source: host }]", /regions: \//],
    ["version: 1\nregions: [{ path: /a, protection: none }]", /source: host/],
    ["version: 1\nregions: [{ path: /a, protection: authenticated, size: 1MiB }]", /begins empty/],
    ["version: 1\nregions: [{ path: /a, protection: measured, volume: x }]", /no volume/],
    ["version: 1\nregions: [{ path: /a, protection: encrypted, measured: true }]", /the tag/],
    ["version: 1\nservice: { argv: [a], args: { set: [b] } }", /argv, or args\.set/],
    ["version: 1\nservice: { user: nobody }", /a user of \/etc\/passwd/],
  ] as const)
    assert.throws(() => compile(yaml), { code: "config", message }, yaml)
})

test("a measured manifest has one form, and only fields that we know", () => {
  const manifest = whole(designExample)
  const bytes = serialiseManifest(manifest)
  assert.deepEqual(parseManifest(bytes), JSON.parse(Buffer.from(bytes).toString()))
  const text = Buffer.from(bytes).toString()
  const bad = (change: (text: string) => string) =>
    assert.throws(() => parseManifest(utf8(change(text))), { code: "integrity" })
  bad((json) => json.replace("{", "{ "))
  bad((json) => json.replace('"name"', '"nam"'))
  bad((json) => json.replace("coffer/manifest/1", "coffer/manifest/2"))
  bad((json) => json.replace('"env":{', '"env":{"also":1,'))
  bad((json) => json.replace('"LANG"', '"__proto__"'))
  bad((json) => json.replace('"path":"/tmp"', '"path":"/tmp/"'))
  bad((json) => json.replace('"path":"/tmp"', '"path":"/a"'))
  bad((json) => json.replace('"size":4096', '"size":4097'))
  bad((json) => json.slice(0, -1))
  bad((json) => `${json} `)
  for (let at = 0; at < bytes.length; at += 1) {
    const changed = Uint8Array.from(bytes)
    changed[at] = (changed[at] ?? 0) ^ 1
    try {
      assert.notDeepEqual(parseManifest(changed), manifest)
    } catch (error) {
      assert.equal((error as { code?: string }).code, "integrity", `byte ${at}: ${String(error)}`)
    }
  }
})

test("what could not be read again is not written", () => {
  const manifest = whole(designExample)
  const region = manifest.regions[0]
  assert.ok(region !== undefined)
  for (const change of [
    { regions: [region, region] },
    { user: { uid: 0, gid: 0, groups: [2, 1] } },
    { argv: [] },
    { argv: ["a\0b"] },
    { argv: ["x".repeat(131_072)] },
    { argv: Array.from({ length: 9 }, () => "x".repeat(131_071)) },
  ])
    assert.throws(() => serialiseManifest({ ...manifest, ...change }), { code: "config" })
})

test("patterns match whole values, and not endless ones", () => {
  assert.ok(patternMatches("a|b", "b"))
  assert.ok(!patternMatches("a|b", "ab"))
  assert.ok(!patternMatches("a*", "a\n"))
  assert.ok(!patternMatches("a*", "a".repeat(4097)))
})

test("a difference names the field", () => {
  const other = whole(
    designExample.replace("C.UTF-8", "C").replace("/app/main.py", "/app/b.py, -v"),
  )
  const changes = diffJson(
    parseCanonicalJson(serialiseManifest(whole(designExample)), "manifest"),
    parseCanonicalJson(serialiseManifest(other), "manifest"),
  )
  assert.deepEqual(
    changes.map(({ field, from, to }) => [field, from, to]),
    [
      ["argv[1]", "/app/main.py", "/app/b.py"],
      ["argv[2]", undefined, "-v"],
      ["env.set.LANG", "C.UTF-8", "C"],
    ],
  )
})

test("what lets the host choose code is warned of", () => {
  const warnings = manifestWarnings(
    compile(`
version: 1
service: { stdin: inherit, debug: true }
env: { allow: [LD_PRELOAD, TZ] }
regions: [{ path: /x, protection: none, source: host }]`),
  )
  assert.equal(warnings.length, 4)
})
