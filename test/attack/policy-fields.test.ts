/**
 * Every field of the policy language, with what it accepts and what it refuses; each refusal names the field, what was
 * wanted and what was found. A field of the schema that has no row here fails.
 */
import assert from "node:assert/strict"
import { test } from "node:test"
import { z } from "zod"
import type { PlatformClaims } from "../../src/attest/index.ts"
import { judgePlatform } from "../../src/cas/platforms.ts"
import { CofferError } from "../../src/errors.ts"
import {
  type AccessRequest,
  decide,
  policyFromValue,
  type Refusal,
} from "../../src/policy/index.ts"
import { policySchema } from "../../src/policy/schema.ts"
import { claimsHex as hex, snp, tdx, tpm } from "../support/platform-claims.ts"

const mutable = (value: unknown): Record<string, unknown> => value as Record<string, unknown>

const sim: PlatformClaims = { type: "insecure-sim", key: hex(32), checks: [] }
const azure: PlatformClaims = {
  type: "azure",
  hardware: snp,
  tpm: { ...tpm, akName: "" },
  checks: [],
}

/** With the TCB of the TDX machine. */
const sgx: PlatformClaims = {
  ...tdx,
  type: "sgx",
  mrEnclave: hex(32),
  mrSigner: hex(32),
  productId: 0,
  svn: 0,
}

const pcrs = { "11": [hex(32, "1")] }
const machine = { type: "sev-snp", products: ["milan"], measurement: [hex(48)], maxVmpl: 1 }

/** A document that has everything; platforms and secrets are named by their kind. */
const whole = {
  version: 1,
  name: "p",
  predecessor: hex(32),
  services: {
    s: {
      measurements: [hex(32)],
      signer: { mrsigner: hex(32, "b"), product: 7, minSvn: 3 },
      platforms: ["insecure-sim"],
      minRuntime: "0.1.0",
      argv: ["/app"],
      env: { A: "$$secret:ascii$$" },
      files: { "/f": { content: "x", mode: "0400", uid: 1, gid: 1 } },
      volumes: { v: "read" },
      regions: { "/r": { key: "random", tag: hex(32) } },
    },
  },
  platforms: {
    "insecure-sim": { type: "insecure-sim" },
    tdx: { type: "tdx", mrtd: [hex(48)], tolerate: ["SWHardeningNeeded"] },
    "sev-snp": machine,
    tpm2: { type: "tpm2", attestationKeys: [`000b${hex(32)}`], pcrs },
    azure: { type: "azure", hardware: machine, pcrs },
    sgx: { type: "sgx", tolerate: ["SWHardeningNeeded"] },
  },
  volumes: { v: { freshness: { count: 1, age: 1 } } },
  secrets: {
    random: { kind: "random" },
    ascii: { kind: "ascii" },
    given: { kind: "given" },
    "x509-ca": { kind: "x509-ca", commonName: "CA" },
    x509: { kind: "x509", ca: "x509-ca", commonName: "leaf" },
    import: { kind: "import", policy: "other", secret: "theirs" },
  },
  access: {
    keys: { k: hex(32, "c"), l: hex(32, "d") },
    read: { of: ["k"], need: 1 },
    update: { of: ["k", "l"], need: 2 },
    restore: { of: ["k"], need: 1 },
  },
}

const claimsOf: Readonly<Record<string, PlatformClaims>> = {
  "insecure-sim": sim,
  tdx,
  "sev-snp": snp,
  tpm2: tpm,
  azure,
  sgx,
}

type Row =
  /** Values that stand in the document: one that it may have, and one that it may not. */
  | readonly ["document", good: unknown, bad: unknown]
  /** Values of the field against one machine's claims. */
  | readonly ["machine", good: unknown, bad: unknown, claims?: PlatformClaims]
  /** One value of the field, against two enclaves or requests. */
  | readonly [
      "enclave",
      good: Partial<AccessRequest["enclave"]>,
      bad: Partial<AccessRequest["enclave"]>,
    ]
  | readonly ["request", good: Partial<AccessRequest>, bad: Partial<AccessRequest>]

const debugged = (claims: PlatformClaims) => ({ ...claims, debug: true }) as PlatformClaims
const guest = (change: object): PlatformClaims => ({ ...snp, policy: { ...snp.policy, ...change } })
const onAzure = (hardware: PlatformClaims) => ({ ...azure, hardware }) as PlatformClaims

/** Fields of an SNP machine, by itself and in an Azure one. */
const snpRows = (
  of: (claims: PlatformClaims) => PlatformClaims,
): Readonly<Record<string, Row>> => ({
  products: ["machine", ["milan", "turin"], ["genoa"]],
  measurement: ["machine", [hex(48, "b"), hex(48)], [hex(48, "b")]],
  "minTcb.fmc": ["machine", 0, 1],
  "minTcb.bootloader": ["machine", 3, 4],
  "minTcb.tee": ["machine", 1, 2],
  "minTcb.snp": ["machine", 20, 21],
  "minTcb.microcode": ["machine", 200, 201],
  minGuestSvn: ["machine", 3, 4],
  maxVmpl: ["machine", 2, 0],
  hostData: ["machine", [hex(32, "1")], [hex(32, "f")]],
  idKeyDigest: ["machine", [hex(48, "2")], [hex(48, "f")]],
  chipId: ["machine", [hex(64, "4")], [hex(64, "f")]],
  allowSmt: ["machine", true, false],
  insecureDebug: ["machine", true, false, of(guest({ debug: true }))],
  insecureMigration: ["machine", true, false, of(guest({ migrationAgent: true }))],
})
const intelRows = (claims: PlatformClaims): Readonly<Record<string, Row>> => ({
  insecureDebug: ["machine", true, false, debugged(claims)],
  tolerate: ["machine", ["SWHardeningNeeded", "OutOfDate"], ["OutOfDate"]],
  advisories: ["machine", ["INTEL-SA-00615"], ["INTEL-SA-00001"]],
  minTcbEvaluation: ["machine", 17, 18],
})
const sha384 = (digit: string): Row => ["machine", [hex(48, digit)], [hex(48, "f")]]
const under = (prefix: string, rows: Readonly<Record<string, Row>>) =>
  Object.fromEntries(Object.entries(rows).map(([field, row]) => [`${prefix}${field}`, row]))
const common = (type: string): Readonly<Record<string, Row>> => ({
  type: ["document", type, "elsewhere"],
  maxAge: ["machine", 60, 1],
})
const exported: Row = ["document", ["other"], ["Other!"]]
const quorum: Readonly<Record<string, Row>> = {
  of: ["document", ["l", "k"], ["m"]],
  need: ["document", 1, 3],
}

const rows: Readonly<Record<string, Row>> = {
  version: ["document", 1, 2],
  name: ["document", "shop.web", "Shop"],
  predecessor: ["document", hex(32, "e"), "e"],
  services: ["request", {}, { service: "t" }],
  "services.*.measurements": ["enclave", {}, { mrEnclave: hex(32, "f") }],
  "services.*.signer.mrsigner": ["enclave", {}, { mrSigner: undefined }],
  "services.*.signer.product": ["enclave", {}, { product: 8 }],
  "services.*.signer.minSvn": ["enclave", { svn: 4 }, { svn: 2 }],
  "services.*.platforms": ["document", ["tdx", "sgx"], ["moon"]],
  "services.*.minRuntime": ["enclave", { runtimeVersion: "0.10.0" }, { runtimeVersion: "0.0.9" }],
  "services.*.insecureDebug": ["enclave", { debug: false }, { debug: true }],
  "services.*.argv": ["document", ["/app", "$$secret:ascii$$"], ["$$secret:nobody$$"]],
  "services.*.env": ["document", { B: "" }, { "1B": "" }],
  "services.*.env.*": ["document", "x$$secret:given:hex$$", "$$secret:given:chain$$"],
  "services.*.files": ["document", {}, { f: { content: "" } }],
  "services.*.files.*.content": ["document", "$$secret:x509:key$$", "$$secret:x509:moon$$"],
  "services.*.files.*.mode": ["document", "0644", "644"],
  "services.*.files.*.uid": ["document", 0, -1],
  "services.*.files.*.gid": ["document", 4_294_967_294, 4_294_967_295],
  "services.*.volumes": [
    "request",
    { volumes: [{ name: "v", access: "read", instance: 0 }] },
    { volumes: [{ name: "w", access: "read", instance: 0 }] },
  ],
  "services.*.volumes.*": [
    "request",
    { volumes: [{ name: "v", access: "read", instance: 0 }] },
    { volumes: [{ name: "v", access: "write", instance: 0 }] },
  ],
  "services.*.regions": ["document", {}, { "/..": {} }],
  "services.*.regions.*.key": ["document", "given", "nobody"],
  "services.*.regions.*.tag": ["document", hex(32, "f"), "f"],
  platforms: ["document", whole.platforms, { "insecure-sim": 1 }],
  ...under("platforms.*(insecure-sim).", {
    ...common("insecure-sim"),
    keys: ["machine", [hex(32), hex(32, "b")], [hex(32, "b")]],
  }),
  ...under("platforms.*(tdx).", {
    ...common("tdx"),
    ...intelRows(tdx),
    mrtd: sha384("a"),
    rtmr0: sha384("0"),
    rtmr1: sha384("1"),
    rtmr2: sha384("2"),
    mrConfigId: sha384("4"),
    mrOwner: sha384("5"),
    mrOwnerConfig: sha384("6"),
  }),
  ...under("platforms.*(sev-snp).", { ...common("sev-snp"), ...snpRows((claims) => claims) }),
  ...under("platforms.*(tpm2).", {
    ...common("tpm2"),
    attestationKeys: ["machine", [`000b${hex(32)}`], [`000b${hex(32, "b")}`]],
    pcrs: ["document", pcrs, {}],
    "pcrs.*": ["machine", [hex(32, "1"), hex(32, "f")], [hex(32, "f")]],
  }),
  ...under("platforms.*(azure).", {
    ...common("azure"),
    pcrs: ["document", pcrs, { "24": [hex(32)] }],
    "pcrs.*": ["machine", [hex(32, "1")], [hex(32, "f")]],
    "hardware.type": ["document", "sev-snp", "tdx"],
    ...under("hardware.", snpRows(onAzure)),
  }),
  ...under("platforms.*(sgx).", { ...common("sgx"), ...intelRows(sgx) }),
  volumes: ["document", { v: {} }, { V: {} }],
  "volumes.*.protection": ["document", "authenticated", "none"],
  "volumes.*.freshness": ["document", "strict", "lazy"],
  "volumes.*.freshness.count": ["document", 1_000_000, 0],
  "volumes.*.freshness.age": ["document", "1h", "2h"],
  "volumes.*.instances": [
    "request",
    { volumes: [{ name: "v", access: "read", instance: 0 }] },
    { volumes: [{ name: "v", access: "read", instance: 1 }] },
  ],
  secrets: ["document", whole.secrets, { Big: { kind: "random" } }],
  ...under("secrets.*(random).", {
    kind: ["document", "random", "moon"],
    size: ["document", 65_536, 65_537],
    export: exported,
  }),
  ...under("secrets.*(ascii).", {
    kind: ["document", "ascii", "moon"],
    size: ["document", 1, 0],
    export: exported,
  }),
  ...under("secrets.*(given).", {
    kind: ["document", "given", "moon"],
    maxSize: ["document", 1, 1_048_577],
    export: exported,
  }),
  ...under("secrets.*(x509-ca).", {
    kind: ["document", "x509-ca", "moon"],
    commonName: ["document", "My CA", ""],
    validFor: ["document", "3650d", "36501d"],
    export: exported,
  }),
  ...under("secrets.*(x509).", {
    kind: ["document", "x509", "moon"],
    ca: ["document", "x509-ca", "random"],
    commonName: ["document", "leaf", "é"],
    dns: ["document", ["*.shop.example"], ["Shop Example"]],
    usage: ["document", "client", "signing"],
    validFor: ["document", "60d", "1d"],
    renewBefore: ["document", "20d", "90d"],
    export: exported,
  }),
  ...under("secrets.*(import).", {
    kind: ["document", "import", "moon"],
    policy: ["document", "publisher", "p"],
    secret: ["document", "model-key", "Model"],
    hash: ["document", hex(32), "new"],
  }),
  "access.keys": ["document", whole.access.keys, {}],
  "access.keys.*": ["document", hex(32, "e"), hex(32, "d")],
  ...under("access.read.", quorum),
  ...under("access.update.", quorum),
  ...under("access.restore.", quorum),
}

/** `platforms.*(tdx).mrtd` in the document above: `platforms`, `tdx`, `mrtd`. */
function placeOf(path: string): string[] {
  const names = new Map([
    ["services", "s"],
    ["env", "A"],
    ["files", "/f"],
    ["regions", "/r"],
    ["pcrs", "11"],
    ["keys", "k"],
    ["volumes", "v"],
  ])
  const parts = path.split(/\.(?![^(]*\))/)
  return parts.map((part, i) => {
    const kind = /^\*\((.+)\)$/.exec(part)?.[1]
    return kind ?? (part === "*" ? (names.get(parts[i - 1] ?? "") ?? "") : part)
  })
}

function changed(place: readonly string[], value: unknown): unknown {
  // Not structuredClone: what stands twice in the document must not be one object in the copy.
  const copy: unknown = JSON.parse(JSON.stringify(whole))
  let at = mutable(copy)
  for (const part of place.slice(0, -1)) at = mutable((at[part] ??= {}))
  at[place.at(-1) ?? ""] = value
  return copy
}

/** What the document says of itself, `FIELD: wanted …, found …`; undefined when it is good. */
function fault(document: unknown): string | undefined {
  try {
    policyFromValue(document, "p")
    return undefined
  } catch (error) {
    assert.ok(error instanceof CofferError && error.code === "config", String(error))
    return error.message
  }
}

function judged(place: readonly string[], value: unknown, claims?: PlatformClaims) {
  const [, name = ""] = place
  const platform = policyFromValue(changed(place, value), "p").platforms[name]
  assert.ok(platform !== undefined)
  return judgePlatform(name, platform, claims ?? claimsOf[name] ?? sim, 30_000)
}

const good: AccessRequest = {
  service: "s",
  enclave: {
    mrEnclave: hex(32),
    mrSigner: hex(32, "b"),
    product: 7,
    svn: 3,
    debug: false,
    runtimeVersion: "0.1.0",
  },
  volumes: [],
}

function decided(request: Partial<AccessRequest>): Refusal | undefined {
  const context = { judgePlatform: () => undefined, highestSvn: () => 0 }
  const decision = decide(policyFromValue(whole, "p"), { ...good, ...request }, context)
  return decision.accepted ? undefined : decision.refusal
}

function named(refusal: Refusal | undefined, place: readonly string[]): void {
  assert.ok(refusal !== undefined, "refused")
  assert.equal(refusal.field, place.join("."))
  assert.ok(refusal.wanted !== "" && refusal.found !== "")
}

for (const [path, row] of Object.entries(rows))
  test(`${path}: accepts, and refuses by name`, () => {
    const place = placeOf(path)
    const [level, yes, no] = row
    switch (level) {
      case "document": {
        assert.equal(fault(changed(place, yes)), undefined)
        const said = fault(changed(place, no)) ?? ""
        assert.match(said, /: wanted [^]+, found /)
        assert.ok(said.includes(place.at(-1) ?? ""), said)
        break
      }
      case "machine": {
        const claims = row[3]
        assert.equal(judged(place, yes, claims), undefined)
        named(judged(place, no, claims), place)
        break
      }
      case "enclave":
        assert.equal(decided({ enclave: { ...good.enclave, ...yes } }), undefined)
        named(decided({ enclave: { ...good.enclave, ...no } }), place)
        break
      case "request":
        assert.equal(decided(yes), undefined)
        named(decided(no), place)
    }
  })

test("no machine passes for one of another type", () => {
  const { platforms } = policyFromValue(whole, "p")
  for (const [name, platform] of Object.entries(platforms))
    for (const [type, claims] of Object.entries(claimsOf))
      if (name === type) assert.equal(judgePlatform(name, platform, claims, 0), undefined, name)
      else
        assert.deepEqual(judgePlatform(name, platform, claims, 0), {
          field: `platforms.${name}.type`,
          wanted: name,
          found: type,
        })
  const tdxInAzure = { ...azure, hardware: tdx } as const
  const refusal = judgePlatform("azure", platforms["azure"] ?? assert.fail(), tdxInAzure, 0)
  assert.equal(refusal?.field, "platforms.azure.hardware.type")
})

interface Node {
  readonly properties?: Readonly<Record<string, Node>>
  readonly additionalProperties?: Node | boolean
  readonly anyOf?: readonly Node[]
  readonly oneOf?: readonly Node[]
  readonly const?: string | number
}

/** Every field of the schema, mappings too; alternatives by their type or kind. */
function fieldsOf(path: string, node: Node): string[] {
  const alternatives = (node.anyOf ?? node.oneOf ?? []).filter(
    ({ properties }) => properties !== undefined,
  )
  const more = alternatives.flatMap((one) => {
    const kind = one.properties?.["type"]?.const ?? one.properties?.["kind"]?.const
    return kind === undefined
      ? [path, ...fieldsOf(path, one)]
      : fieldsOf(`${path}(${String(kind)})`, one)
  })
  if (more.length > 0) return more
  if (node.properties !== undefined)
    return Object.entries(node.properties).flatMap(([name, child]) =>
      fieldsOf(path === "" ? name : `${path}.${name}`, child),
    )
  return typeof node.additionalProperties === "object"
    ? [path, ...fieldsOf(`${path}.*`, node.additionalProperties)]
    : [path]
}

test("every field of the schema has a row, and every row is of a field", () => {
  const schema = z.toJSONSchema(policySchema, { io: "input", unrepresentable: "any" }) as Node
  const fields = [...new Set(fieldsOf("", schema))].toSorted()
  assert.deepEqual(Object.keys(rows).toSorted(), fields)
})
