import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { cpSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { after, test } from "node:test"
import { rawPublicKey, releaseReportData, signReport, simEvidence } from "../../src/attest/index.ts"
import { toHex } from "../../src/bytes/index.ts"
import { type CasClient, openEmbeddedCas } from "../../src/cas/index.ts"
import { CofferError } from "../../src/errors.ts"
import {
  mrEnclave,
  mrSigner,
  Node,
  person,
  policyText,
  putPolicy,
  scratch,
} from "../support/cas.ts"

const place = scratch()
after(place.remove)
const alice = person()
let clock = Date.now()
const embedded = await openEmbeddedCas(join(place.dir, "a"), { now: () => clock })
const { cas, client } = embedded
after(() => embedded.close())
await putPolicy(cas, policyText(alice.public), [alice])
const node = await new Node().prepare(client)

type Claims = Parameters<Node["evidence"]>[1]
type Binding = Parameters<Node["evidence"]>[0]

async function outcome(
  work: () => Promise<unknown>,
): Promise<{ readonly reason: string; readonly message: string }> {
  try {
    await work()
    return { reason: "accepted", message: "" }
  } catch (error) {
    assert.ok(
      error instanceof CofferError && ["refused", "rollback"].includes(error.code),
      String(error),
    )
    return { reason: error.reason ?? "", message: error.message }
  }
}

const ask = (
  service: string,
  claims: Claims = {},
  by: CasClient = client,
  from: Node = node,
  policy = "shop",
) =>
  by.attest({
    policy,
    service,
    volumes: [],
    makeEvidence: (binding: Binding) => from.evidence(binding, claims),
  })

test("release only to whom the policy names: each field accepts and refuses, the refusal names field, wanted, found", async () => {
  const no: readonly (readonly [string, string, Claims])[] = [
    ["web", "services.web.measurements", { mrEnclave: "00".repeat(32) }],
    ["web", "services.web.signer.mrsigner", { mrSigner: "00".repeat(32) }],
    ["web", "services.web.signer.mrsigner", { mrSigner: undefined }],
    ["web", "services.web.signer.product", { productId: 8 }],
    ["web", "services.web.signer.minSvn", { svn: 2 }],
    ["web", "services.web.minRuntime", { runtimeVersion: [0, 0, 9] }],
    ["web", "services.web.insecureDebug", { debug: true }],
    ["reader", "services.reader.insecureDebug", { debug: true }],
    ["other", "services", {}],
  ]
  assert.equal((await outcome(() => ask("web"))).reason, "accepted")
  assert.equal(
    (await outcome(() => ask("web", { svn: 4, runtimeVersion: [0, 2, 0] }))).reason,
    "accepted",
  )
  for (const [service, field, claims] of no) {
    const { message } = await outcome(() => ask(service, claims))
    assert.match(message, new RegExp(`^${field.replaceAll(".", "\\.")}: wanted .+, found .+`))
  }
  assert.equal(
    (await outcome(() => ask("web", {}, client, node, "shopp"))).reason,
    "policy-unknown",
  )
})

test("platforms: type, key and age", async () => {
  const text = policyText(alice.public)
    .replace("name: shop", "name: strict")
    .replace(
      "dev: { type: insecure-sim }",
      `dev: { type: insecure-sim, keys: ["${node.platformKey}"], maxAge: 60s }`,
    )
  await putPolicy(cas, text, [alice], {}, clock)
  assert.equal((await outcome(() => ask("web", {}, client, node, "strict"))).reason, "accepted")
  const stranger = await new Node().prepare(client)
  assert.match(
    (await outcome(() => ask("web", {}, client, stranger, "strict"))).message,
    /^platforms\.dev\.keys: wanted .+, found .+/,
  )
  clock += 61_000
  assert.match(
    (await outcome(() => ask("web", {}, client, node, "strict"))).message,
    /^platforms\.dev\.maxAge: wanted/,
  )
  const tdx = text
    .replace("name: strict", "name: hard")
    .replace(/dev: \{ type.*\}/, `dev: { type: tdx, mrtd: ["${"00".repeat(48)}"] }`)
  await putPolicy(cas, tdx, [alice], {}, clock)
  assert.match(
    (await outcome(() => ask("web", {}, client, node, "hard"))).message,
    /^platforms\.dev\.type: wanted tdx, found insecure-sim/,
  )
})

const row = (svn: number) =>
  client.attest({
    policy: "shop",
    service: "web",
    volumes: [{ name: "data", access: "write", instance: 0, takeover: true }],
    makeEvidence: (binding) => node.evidence(binding, { svn }),
  })

test("a policy that no longer names a measurement, and an SVN that went down", async () => {
  await row(5)
  assert.match(
    (await outcome(() => row(4))).message,
    /^volumes\.data: wanted an SVN of 5 or higher/,
  )
})

test("replayed, borrowed and forged evidence releases nothing", async () => {
  let recorded: unknown
  let nonce = new Uint8Array()
  const keep = (binding: Binding) => {
    nonce = binding.nonce as Uint8Array<ArrayBuffer>
    recorded = node.evidence(binding)
    return recorded
  }
  await client.attest({ policy: "shop", service: "web", volumes: [], makeEvidence: keep })
  const direct = (evidence: unknown, more: Record<string, unknown> = {}) =>
    cas.attest({
      policy: "shop",
      service: "web",
      nonce: toHex(nonce),
      evidence,
      volumes: [],
      ...more,
    })
  // The same again; with a new challenge; as another service of the policy; an hour later.
  assert.equal((await outcome(() => direct(recorded))).reason, "nonce-used")
  assert.equal(
    (await outcome(() => direct(recorded, { nonce: toHex(cas.challenge()) }))).reason,
    "report-data",
  )
  const bound = (service: string) =>
    client.attest({
      policy: "shop",
      service: "reader",
      volumes: [],
      makeEvidence: (binding) => node.evidence({ ...binding, policyName: `shop/${service}` }),
    })
  assert.equal((await outcome(() => bound("web"))).reason, "report-data")
  assert.equal((await outcome(() => bound("reader"))).reason, "accepted")
  const old = cas.challenge()
  clock += 61_000
  assert.equal((await outcome(() => direct(recorded, { nonce: toHex(old) }))).reason, "nonce")
  assert.equal((await outcome(() => direct(recorded, { nonce: "00".repeat(32) }))).reason, "nonce")
})

const forged = (kind: "release" | "service", key: Node["key"]) =>
  outcome(() =>
    client.attest({
      policy: "shop",
      service: "web",
      volumes: [],
      makeEvidence: (binding) => {
        const { report: _, ...rest } = node.evidence(binding)
        const made = signReport(
          kind,
          {
            enclave: {
              mrEnclave,
              mrSigner,
              productId: 7,
              svn: 9,
              debug: false,
              engineTrusted: true,
              runtimeVersion: [0, 1, 0],
            },
            reportData: releaseReportData(binding),
          },
          key,
        )
        return { ...rest, report: { body: toHex(made.body), signature: toHex(made.signature) } }
      },
    }),
  )

test("reports that no vouched node made for a release release nothing", async () => {
  // A local process with the victim's measurement and a key of its own, which no platform vouches for.
  assert.equal((await forged("release", new Node().key)).reason, "report-signature")
  // A report that the service asked its agent for, with the report data of a release.
  assert.equal((await forged("service", node.key)).reason, "report-signature")
  assert.equal((await forged("release", node.key)).reason, "accepted")
  // Platform evidence for a nonce that this CAS never gave out.
  const foreign = (binding: Binding) => ({
    ...node.evidence(binding),
    platform: simEvidence(node.sim, new Uint8Array(32), rawPublicKey(node.key)),
  })
  assert.equal(
    (
      await outcome(() =>
        client.attest({ policy: "shop", service: "web", volumes: [], makeEvidence: foreign }),
      )
    ).reason,
    "platform-nonce",
  )
})

test("an answer fits its own exchange only: recorded, changed, or from another CAS", async () => {
  const other = await openEmbeddedCas(join(place.dir, "other"))
  await putPolicy(other.cas, policyText(alice.public), [alice])
  // The evidence names the CAS that it is for.
  const mixed = other.client.attest({
    policy: "shop",
    service: "web",
    volumes: [],
    makeEvidence: (binding) => node.evidence({ ...binding, casKey: cas.identity.publicKey }),
  })
  assert.notEqual((await outcome(() => mixed)).reason, "accepted")
  await other.close()
})

test("an older copy of the whole database is noticed by who saw a newer state", async () => {
  const dir = join(place.dir, "whole")
  const first = await openEmbeddedCas(dir)
  await putPolicy(first.cas, policyText(alice.public), [alice])
  const agent = await new Node().prepare(first.client)
  await ask("web", {}, first.client, agent)
  await first.close()
  const copy = join(place.dir, "copy")
  cpSync(dir, copy, { recursive: true })
  const second = await openEmbeddedCas(dir)
  const again = await new Node().prepare(second.client)
  const { head } = await ask("web", {}, second.client, again)
  await second.close()
  const old = await openEmbeddedCas(copy)
  const late = await new Node().prepare(old.client)
  const seen = () =>
    old.client.attest({
      policy: "shop",
      service: "web",
      volumes: [],
      seen: head,
      makeEvidence: (binding) => late.evidence(binding),
    })
  assert.equal((await outcome(seen)).reason, "cas-rollback")
  // It grows past the old length: its history is another one.
  for (let i = 0; i < 3; i += 1) await old.cas.note("cas-started", {})
  assert.equal((await outcome(seen)).reason, "cas-rollback")
  await old.close()
})

test("single rows of the database put back, removed, exchanged or changed are noticed", async () => {
  const dir = join(place.dir, "rows")
  const made = await openEmbeddedCas(dir)
  await putPolicy(made.cas, policyText(alice.public), [alice])
  const agent = await new Node().prepare(made.client)
  const write = () =>
    made.client.attest({
      policy: "shop",
      service: "web",
      makeEvidence: (binding) => agent.evidence(binding),
      volumes: [{ name: "data", access: "write", instance: 0, takeover: true }],
    })
  const { volumes } = await write()
  const [grant] = volumes
  assert.ok(grant !== undefined)
  await made.close()
  const older = new DatabaseSync(join(dir, "cas.db"))
    .prepare("SELECT value FROM volumes WHERE key = 'shop/data/0'")
    .get()?.["value"] as Uint8Array
  const now = await openEmbeddedCas(dir)
  await now.client.moveTag("shop", grant, grant, { sequence: 1, tag: "11".repeat(32) })
  await now.close()
  const attacks: readonly (readonly [string, readonly (string | Uint8Array)[], string])[] = [
    ["UPDATE volumes SET value = ? WHERE key = 'shop/data/0'", [older], "rollback"],
    ["DELETE FROM volumes WHERE key = 'shop/data/0'", [], "rollback"],
    ["DELETE FROM log WHERE key = '0000000000000002'", [], "integrity"],
    [
      "UPDATE log SET value = (SELECT value FROM log WHERE key = '0000000000000001') WHERE key = '0000000000000002'",
      [],
      "integrity",
    ],
    [
      "UPDATE secrets SET value = (SELECT value FROM secrets WHERE key = 'shop/ca') WHERE key = 'shop/tls'",
      [],
      "rollback",
    ],
    ["DELETE FROM meta WHERE key = 'head'", [], "rollback"],
    ["UPDATE policies SET value = zeroblob(100)", [], "rollback"],
  ]
  for (const [i, [statement, values, code]] of attacks.entries()) {
    const copy = join(place.dir, `rows-${i}`)
    cpSync(dir, copy, { recursive: true })
    const database = new DatabaseSync(join(copy, "cas.db"))
    database.prepare(statement).run(...values)
    database.close()
    const opened = await openEmbeddedCas(copy)
    await assert.rejects(
      opened.cas.verify(),
      (error) => error instanceof CofferError && error.code === code,
      statement,
    )
    await opened.close()
  }
})

test("no secret stands in the database or its log, in any common form", async () => {
  const dir = join(place.dir, "grep")
  const made = await openEmbeddedCas(dir)
  const text = policyText(alice.public).replace(
    "token: { kind: ascii, size: 24 }",
    "token: { kind: given }",
  )
  const value = "correct horse battery staple"
  await putPolicy(made.cas, text, [alice], { token: Buffer.from(value).toString("base64") })
  const agent = await new Node().prepare(made.client)
  const { volumes } = await made.client.attest({
    policy: "shop",
    service: "web",
    makeEvidence: (binding) => agent.evidence(binding),
  })
  const lines = (await made.cas.auditLines(1, 1000)).join("\n")
  await made.close()
  const secrets = [
    value,
    ...volumes.flatMap(({ keys, token }) => [token, ...keys.map(({ key }) => key)]),
  ]
  const forms = secrets.flatMap((one) => [
    one,
    Buffer.from(one).toString("base64"),
    Buffer.from(one).toString("hex"),
    createHash("sha256").update(one).digest("hex"),
  ])
  const { readFileSync, readdirSync } = await import("node:fs")
  const files = readdirSync(dir)
    .filter((name) => name !== "master.key")
    .map((name) => readFileSync(join(dir, name)).toString("latin1"))
  for (const form of forms) for (const hay of [lines, ...files]) assert.ok(!hay.includes(form))
})
