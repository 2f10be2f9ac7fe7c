import assert from "node:assert/strict"
import { test } from "node:test"
import { CofferError } from "../errors.ts"
import {
  type AccessRequest,
  decide,
  diffPolicies,
  parsePolicy,
  policyFromValue,
  policyHash,
  policySkeleton,
  policyWarnings,
  refusalText,
  substituteText,
} from "./index.ts"

const a = "a".repeat(64)
const b = "b".repeat(64)

export const sample = `version: 1
name: shop
services:
  web:
    measurements: ["${a}"]
    signer: { mrsigner: "${b}", product: 7, minSvn: 3 }
    platforms: [dev]
    minRuntime: 0.1.0
    argv: [/app/main, --token=$$secret:token$$]
    env: { TOKEN: "$$secret:token$$" }
    files: { /etc/app/key: { content: "$$secret:token:raw$$" } }
    volumes: { data: write, audit: read }
platforms:
  dev: { type: insecure-sim }
volumes:
  data: { freshness: { count: 10, age: 5s }, instances: 2 }
  audit: { protection: authenticated }
secrets:
  token: { kind: ascii, size: 24 }
access:
  keys: { alice: "${a}", bob: "${b}" }
  update: { of: [alice, bob], need: 2 }
`

function fault(text: string): string {
  try {
    parsePolicy(text, "policy.yaml")
  } catch (error) {
    assert.ok(error instanceof CofferError && error.code === "config", String(error))
    return `${error.message}${error.hint === undefined ? "" : ` (${error.hint})`}`
  }
  return assert.fail(`accepted: ${text}`)
}

test("a policy has a normal form, and its hash does not see comments, order or defaults", () => {
  const policy = parsePolicy(sample, "policy.yaml")
  assert.deepEqual(policy.volumes["data"]?.freshness, { count: 10, age: 5 })
  assert.deepEqual(policy.access.restore, { of: ["alice", "bob"], need: 2 })
  const other = `# a comment\n${sample.replace("name: shop\n", "").replace("access:", "name: shop\naccess:").replace("{ protection: authenticated }", "{ instances: 1, protection: authenticated }")}`
  assert.equal(policyHash(parsePolicy(other, "x")), policyHash(policy))
  assert.notEqual(
    policyHash(parsePolicy(sample.replace("size: 24", "size: 25"), "x")),
    policyHash(policy),
  )
  assert.deepEqual(policyFromValue(JSON.parse(JSON.stringify(policy)), "x"), policy)
})

test("errors name file, line, column and field, what was wanted and what was found", () => {
  const cases: readonly (readonly [string, string, RegExp])[] = [
    [
      `["${a}"]`,
      "[zzz]",
      /^policy\.yaml:5:20: services\.web\.measurements\[0\]: wanted 64 lower-case hex digits .*, found "zzz"$/,
    ],
    [
      "measurements",
      "measurement",
      /^policy\.yaml:5:5: services\.web\.measurement: wanted measurements, found the unknown key "measurement" \(did you mean measurements\?\)$/,
    ],
    [
      "platforms: [dev]",
      "platforms: [dve]",
      /^policy\.yaml:7:17: services\.web\.platforms\[0\]: wanted a platform of this document: dev, found "dve" \(did you mean dev\?\)$/,
    ],
    [
      "insecure-sim }",
      "insecure_sim }",
      /platforms\.dev\.type: wanted insecure-sim or tdx or sev-snp or tpm2 or azure or sgx, found "insecure_sim" \(did you mean insecure-sim\?\)/,
    ],
    ["kind: ascii", "kind: asci", /secrets\.token\.kind: .*did you mean ascii/],
    ["need: 2", "need: 3", /access\.update\.need: wanted at most 2, the keys in "of", found 3/],
    ["need: 2", 'need: "2"', /access\.update\.need: wanted a whole number, found "2"/],
    ["age: 5s", "age: 5 s", /volumes\.data\.freshness\.age: wanted a duration/],
    ["count: 10, age", "cuont: 10, age", /volumes\.data\.freshness/],
    [
      "version: 1",
      "version: 2",
      /version: wanted 1, the one version of the policy language, found 2/,
    ],
    [
      "data: write",
      "dta: write",
      /services\.web\.volumes\.dta: wanted a volume of this document: data, audit, found "dta"/,
    ],
    ["data: write", "data: own", /services\.web\.volumes\.data: wanted read or write, found "own"/],
    [`bob: "${b}"`, `bob: "${a}"`, /access\.keys\.bob: wanted a key once/],
    [
      "$$secret:token$$",
      "$$secret:tokn$$",
      /services\.web\.argv\[1\]: wanted a secret of this document: token, found "tokn"/,
    ],
    [
      "{ TOKEN: ",
      "{ X: $$secret:TOKEN$$, TOKEN: ",
      /services\.web\.env\.X: wanted \$\$secret:NAME\$\$/,
    ],
    [
      "$$secret:token:raw$$",
      "$$secret:token:key$$",
      /services\.web\.files\["\/etc\/app\/key"\]\.content: wanted token:text or token:hex/,
    ],
    ["/etc/app/key:", "/etc/../key:", /wanted an absolute path/],
    ["name: shop", "name: Shop!", /policy\.yaml:2:7: name: wanted a name/],
    ["name: shop", "name: shop\nname: shop", /policy\.yaml:3:1: wanted YAML/],
    [
      "platforms: [dev]",
      "platforms: [dev]\n    volums: {}",
      /services\.web\.volums: wanted volumes/,
    ],
    [
      b,
      "83d719e77deaca1470f6baf62a4d774303c899db69020f9c70ee1dfc08c7ce9e",
      /the sample key that Intel published/,
    ],
    ["{ type: insecure-sim }", "&x { type: insecure-sim, keys: *x }", /wanted YAML/],
    ["services:", "service:", /wanted services, found the unknown key "service"/],
  ]
  for (const [from, to, wanted] of cases) {
    assert.ok(sample.includes(from), from)
    assert.match(fault(sample.replace(from, () => to)), new RegExp(wanted.source, "m"))
  }
  assert.match(
    fault(""),
    /^policy\.yaml:1:1: the document: wanted a mapping, found an empty value$/,
  )
})

const good: AccessRequest = {
  service: "web",
  enclave: { mrEnclave: a, mrSigner: b, product: 7, svn: 3, debug: false, runtimeVersion: "0.1.0" },
  volumes: [
    { name: "data", access: "write", instance: 1 },
    { name: "audit", access: "read", instance: 0 },
  ],
}

test("each field of the policy accepts and refuses, and the refusal names it", () => {
  const policy = parsePolicy(sample, "policy.yaml")
  const context = { judgePlatform: () => undefined, highestSvn: () => 3 }
  assert.deepEqual(decide(policy, good, context), { accepted: true, platform: "dev" })
  const enclave = (part: Partial<AccessRequest["enclave"]>): AccessRequest => ({
    ...good,
    enclave: { ...good.enclave, ...part },
  })
  const volumes = (...list: AccessRequest["volumes"]): AccessRequest => ({ ...good, volumes: list })
  const cases: readonly (readonly [string, AccessRequest])[] = [
    ["services", { ...good, service: "wep" }],
    ["services", { ...good, service: "__proto__" }],
    ["services.web.measurements", enclave({ mrEnclave: b })],
    ["services.web.insecureDebug", enclave({ debug: true })],
    ["services.web.signer.mrsigner", enclave({ mrSigner: undefined })],
    ["services.web.signer.mrsigner", enclave({ mrSigner: a })],
    ["services.web.signer.product", enclave({ product: 8 })],
    ["services.web.signer.minSvn", enclave({ svn: 2 })],
    ["services.web.minRuntime", enclave({ runtimeVersion: "0.0.9" })],
    ["services.web.volumes", volumes({ name: "other", access: "read", instance: 0 })],
    ["services.web.volumes.audit", volumes({ name: "audit", access: "write", instance: 0 })],
    ["volumes.data.instances", volumes({ name: "data", access: "read", instance: 2 })],
  ]
  for (const [field, request] of cases) {
    const decision = decide(policy, request, context)
    assert.ok(!decision.accepted, field)
    assert.equal(decision.refusal.field, field)
    assert.match(refusalText(decision.refusal), /: wanted .+, found .+/)
  }
  const later = decide(policy, good, { ...context, highestSvn: () => 4 })
  assert.ok(!later.accepted && later.refusal.field === "volumes.data")
  const refusal = { field: "platforms.dev.keys", wanted: "x", found: "y" }
  assert.deepEqual(decide(policy, good, { ...context, judgePlatform: () => refusal }), {
    accepted: false,
    refusal,
  })
})

test("a diff tells what changed and what gives more than before", () => {
  const before = parsePolicy(sample, "a")
  const after = parsePolicy(
    sample
      .replace(`["${a}"]`, `["${a}", "${b}"]`)
      .replace("minSvn: 3", "minSvn: 4")
      .replace("audit: read", "audit: write"),
    "b",
  )
  assert.deepEqual(
    diffPolicies(before, after).map(({ field, widens }) => [field, widens]),
    [
      ["services.web.measurements", true],
      ["services.web.signer.minSvn", false],
      ["services.web.volumes.audit", true],
    ],
  )
  assert.deepEqual(diffPolicies(before, before), [])
})

const runtime = (version: string) => `minRuntime: ${version}`

test("a diff hides nothing: whole values, no character that a terminal obeys, freed lists, versions as numbers", () => {
  const changed = (from: string, to: string) => {
    const [before, after] = [from, to].map((text) =>
      parsePolicy(sample.replace("minRuntime: 0.1.0", text), "x"),
    )
    assert.ok(before !== undefined && after !== undefined)
    const [first] = diffPolicies(before, after)
    return first
  }
  assert.equal(changed(runtime("0.10.0"), runtime("0.9.0"))?.widens, true)
  assert.equal(changed(runtime("0.9.0"), runtime("0.10.0"))?.widens, false)
  const long = `${"x".repeat(200)}END`
  const env = changed(
    runtime("0.1.0"),
    `minRuntime: 0.1.0\n    regions: { /a${long}: { tag: "${a}" } }`,
  )
  assert.ok(env?.field.includes(long))
  const hiding = sample.replace("/app/main,", `"/app\\e[2K\\u202e${long}",`)
  const [argv] = diffPolicies(parsePolicy(sample, "a"), parsePolicy(hiding, "b"))
  assert.ok(argv?.after.includes("END") === true)
  assert.ok(!/[\p{Cc}\p{Cf}]/u.test(argv.after), argv.after)
  const none = sample.replace(`measurements: ["${a}"]`, "measurements: []")
  const free = diffPolicies(parsePolicy(sample, "a"), parsePolicy(none, "b"))
  assert.deepEqual(
    free.map(({ field, widens }) => [field, widens]),
    [["services.web.measurements", true]],
  )
})

const otherReference = (): Uint8Array => Buffer.from("$$secret:other$$")

test("warnings, and substitution that is not repeated", () => {
  assert.equal(policyWarnings(parsePolicy(sample, "x")).length, 2)
  assert.equal(substituteText("a=$$secret:token$$", otherReference, "env"), "a=$$secret:other$$")
  assert.throws(
    () => substituteText("$$secret:t$$", () => new Uint8Array([255]), "env"),
    /bytes that are none/,
  )
})

test("a skeleton is a good policy once the key is in", () => {
  const facts = {
    name: "shop",
    service: "web",
    mrEnclave: a,
    signer: { mrsigner: b, product: 1, svn: 2 },
    volumes: [{ name: "data", protection: "encrypted" as const }],
    regions: [{ path: "/app/model", tag: b, key: "model-key" }],
    admin: a,
  }
  const policy = parsePolicy(policySkeleton(facts), "x")
  assert.equal(policy.services["web"]?.regions["/app/model"]?.key, "model-key")
  assert.equal(policy.volumes["data"]?.freshness, "strict")
  const { admin: _, ...unfilled } = { ...facts, regions: [], volumes: [] }
  assert.match(
    fault(policySkeleton(unfilled)),
    /access\.keys\.admin: wanted 64 lower-case hex digits .* found "PUT THE LINE/,
  )
})
