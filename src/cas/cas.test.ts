import assert from "node:assert/strict"
import { X509Certificate } from "node:crypto"
import { after, test } from "node:test"
import { act, Node, person, policyText, putPolicy, scratch } from "../../test/support/cas.ts"
import { CofferError } from "../errors.ts"
import { parsePolicy } from "../policy/index.ts"
import { type Answer, type CasClient, openCas, openEmbeddedCas } from "./index.ts"

const place = scratch()
after(place.remove)
const alice = person()
let clock = Date.now()
const embedded = await openEmbeddedCas(place.dir, { now: () => clock })
after(() => embedded.close())
const { cas, client } = embedded
await putPolicy(cas, policyText(alice.public), [alice], {}, clock)
const node = await new Node().prepare(client)

function refused(code: string, reason: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof CofferError, String(error))
    assert.equal(`${error.code} ${error.reason}`, `${code} ${reason}`, error.message)
    return true
  }
}

async function attest(
  by: CasClient,
  service: string,
  volumes?: readonly {
    name: string
    access: "read" | "write"
    instance?: number
    takeover?: boolean
  }[],
): Promise<Answer> {
  return await by.attest({
    policy: "shop",
    service,
    makeEvidence: (binding) => node.evidence(binding),
    ...(volumes === undefined
      ? {}
      : { volumes: volumes.map((one) => ({ instance: 0, takeover: false, ...one })) }),
  })
}

function only<T>(list: readonly T[]): T {
  const [first] = list
  assert.ok(first !== undefined && list.length === 1)
  return first
}

test("an accepted service gets its configuration, with secrets in their places", async () => {
  const answer = await attest(client, "web", [])
  const token = answer.env["TOKEN"] ?? ""
  assert.match(token, /^[A-Za-z0-9]{24}$/)
  assert.deepEqual(answer.argv, ["/app/main", `--token=${token}`])
  assert.equal(answer.platformType, "insecure-sim")
  const text = Buffer.from(answer.files[0]?.content ?? "", "base64").toString()
  const [leaf = "", authority = ""] =
    text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  const certificate = new X509Certificate(leaf)
  assert.ok(certificate.verify(new X509Certificate(authority).publicKey))
  assert.ok(certificate.checkIssued(new X509Certificate(authority)))
  assert.equal(certificate.subjectAltName, "DNS:shop.example")
  assert.equal((await attest(client, "web", [])).env["TOKEN"], token)
})

test("a leaf certificate is renewed before it ends, and its authority stays", async () => {
  const before = Buffer.from(
    (await attest(client, "web", [])).files[0]?.content ?? "",
    "base64",
  ).toString()
  clock += 41 * 86_400_000
  await node.prepare(client)
  const renewed = Buffer.from(
    (await attest(client, "web", [])).files[0]?.content ?? "",
    "base64",
  ).toString()
  assert.notEqual(renewed, before)
  assert.equal(
    renewed.match(/-----BEGIN CERTIFICATE-----[^-]+/g)?.[1],
    before.match(/-----BEGIN CERTIFICATE-----[^-]+/g)?.[1],
  )
})

test("the tag of a volume moves by compare-and-swap under the newest epoch only", async () => {
  const grant = only((await attest(client, "web", [{ name: "data", access: "write" }])).volumes)
  assert.equal(grant.state, "new")
  assert.equal(grant.keys.length, 1)
  const start = { sequence: grant.sequence, tag: grant.tag }
  const one = {
    sequence: 1,
    tag: "11".repeat(32),
    hint: { segment: "55".repeat(32), offset: 64, opening: 1 },
  }
  const two = { sequence: 2, tag: "22".repeat(32) }
  assert.equal((await client.moveTag("shop", grant, start, one)).tag, one.tag)
  // The reply was lost: the same move again.
  assert.deepEqual((await client.moveTag("shop", grant, start, one)).hint, one.hint)
  await assert.rejects(client.moveTag("shop", grant, start, two), refused("rollback", "fork"))
  await client.moveTag("shop", grant, one, two)
  await assert.rejects(client.moveTag("shop", grant, two, one), refused("rollback", "sequence"))
  await assert.rejects(
    attest(client, "web", [{ name: "data", access: "write" }]),
    refused("rollback", "lease-held"),
  )
  const next = only(
    (await attest(client, "web", [{ name: "data", access: "write", takeover: true }])).volumes,
  )
  assert.equal(next.epoch, grant.epoch + 1)
  assert.equal(next.tag, two.tag)
  const three = { sequence: 3, tag: "33".repeat(32) }
  await assert.rejects(client.moveTag("shop", grant, two, three), refused("rollback", "fenced"))
  await assert.rejects(
    client.moveTag("shop", { ...grant, epoch: next.epoch }, two, three),
    refused("refused", "lease-token"),
  )
  await client.moveTag("shop", next, two, three)
  await client.releaseLease("shop", next)
  assert.equal(
    only((await attest(client, "web", [{ name: "data", access: "write" }])).volumes).epoch,
    next.epoch + 1,
  )
})

test("another node takes a volume over only when the lease has ended", async () => {
  const other = await new Node().prepare(client)
  const ask = () =>
    client.attest({
      policy: "shop",
      service: "web",
      volumes: [{ name: "data", access: "write", instance: 0, takeover: true }],
      makeEvidence: (binding) => other.evidence(binding),
    })
  await assert.rejects(ask(), refused("rollback", "lease-held"))
  clock += 31_000
  assert.equal((await ask()).volumes.length, 1)
  clock += 31_000
})

test("a reader gets the tag, and of an authenticated volume no key", async () => {
  const { volumes } = await attest(client, "reader")
  const [audit, data] = volumes
  assert.ok(data !== undefined && audit !== undefined)
  assert.deepEqual([data.keys.length, audit.keys.length], [1, 0])
  assert.equal((await client.current("shop", data)).tag, data.tag)
  await assert.rejects(
    client.moveTag("shop", data, data, { sequence: 9, tag: "99".repeat(32) }),
    refused("refused", "lease-token"),
  )
})

const at = (n: number) => ({ sequence: n, tag: String(n).repeat(64) })

test("restore and reset are signed acts that name what they change", async () => {
  const ask = async () =>
    only(
      (
        await attest(client, "web", [
          { name: "data", access: "write", instance: 1, takeover: true },
        ])
      ).volumes,
    )
  const grant = await ask()
  await client.moveTag("shop", grant, grant, at(1))
  await client.moveTag("shop", grant, at(1), at(2))
  const restore = {
    verb: "restore-volume" as const,
    volume: "data",
    instance: 1,
    current: at(2),
    target: at(1),
  }
  const by = (body: Parameters<typeof act>[2], people = [alice], now = clock) =>
    cas.act(act(cas, "shop", body, people, now))
  await assert.rejects(by(restore, [person()]), refused("refused", "act-restore"))
  await assert.rejects(by(restore, [alice], clock - 120_000), refused("refused", "act-expires"))
  await assert.rejects(by({ ...restore, current: at(1) }), refused("rollback", "act-current"))
  await by(restore)
  await assert.rejects(by(restore), refused("rollback", "act-current"))
  await assert.rejects(client.moveTag("shop", grant, at(2), at(3)), refused("rollback", "fenced"))
  const restored = await ask()
  assert.equal(restored.tag, at(1).tag)
  assert.deepEqual([restored.restored?.from, restored.restored?.to], [at(2).tag, at(1).tag])
  await client.moveTag("shop", restored, at(1), at(4))
  const reset = {
    verb: "reset-volume" as const,
    volume: "data",
    instance: 1,
    id: restored.id,
    current: at(4),
  }
  await by(reset)
  await assert.rejects(by(reset), refused("rollback", "act-current"))
  await assert.rejects(client.current("shop", restored), refused("rollback", "volume-reset"))
  const fresh = await ask()
  assert.equal(fresh.state, "new")
  assert.notEqual(fresh.id, restored.id)
  assert.notEqual(fresh.keys[0]?.key, restored.keys[0]?.key)
})

test("rekey adds a generation; old ones go after the writer has retired them", async () => {
  const grant = only(
    (await attest(client, "web", [{ name: "audit", access: "write", takeover: true }])).volumes,
  )
  const rekey = {
    verb: "rekey-volume" as const,
    volume: "audit",
    instance: 0,
    id: grant.id,
    generation: 0,
  }
  await cas.act(act(cas, "shop", rekey, [alice], clock))
  await assert.rejects(
    cas.act(act(cas, "shop", rekey, [alice], clock)),
    refused("rollback", "act-generation"),
  )
  const again = only(
    (await attest(client, "web", [{ name: "audit", access: "write", takeover: true }])).volumes,
  )
  assert.deepEqual(
    again.keys.map(({ generation }) => generation),
    [0, 1],
  )
  const { keys } = await client.dropKeys("shop", again, 1)
  assert.deepEqual(
    keys.map(({ generation }) => generation),
    [1],
  )
})

test("an update names its predecessor, keeps values, and needs those whom the document before names", async () => {
  const [bob, carol] = [person(), person()]
  const text = (need: number, predecessor?: string) =>
    policyText(bob.public)
      .replace(
        "name: shop",
        `name: duo${predecessor === undefined ? "" : `\npredecessor: "${predecessor}"`}`,
      )
      .replace("update: { of: [alice] }", `update: { of: [alice, carol], need: ${need} }`)
      .replace("access:\n  keys: {", `access:\n  keys: { carol: "${carol.public}",`)
  const put = async (
    document: string,
    people: readonly { key: typeof bob.key; public: string }[],
  ) => await putPolicy(cas, document, people, {}, clock)
  const { result } = await put(text(2), [bob, carol])
  assert.ok(result.verb === "put-policy" && result.created)
  await assert.rejects(put(text(1, result.hash), [bob]), refused("refused", "act-update"))
  await assert.rejects(put(text(1), [bob, carol]), refused("refused", "policy-predecessor"))
  const second = await put(text(1, result.hash), [bob, carol])
  assert.ok(second.result.verb === "put-policy" && second.result.revision === 2)
  await assert.rejects(put(text(2, result.hash), [bob]), refused("refused", "policy-predecessor"))
})

test("everything can be checked from the first entry to the head", async () => {
  const head = await cas.head()
  assert.equal((await cas.verify()).hash, head.hash)
  const lines = await cas.auditLines(1, 10_000)
  assert.equal(lines.length, head.sequence)
})

test("a list comes in pages, whoever asks, and a policy is small work", async () => {
  const list = async (last?: string) => {
    const body = { verb: "list-policies" as const, ...(last === undefined ? {} : { after: last }) }
    const { result } = await cas.act(act(cas, "", body, [alice], clock))
    assert.ok(result.verb === "list-policies")
    return result
  }
  for (let i = 0; i < 105; i += 1)
    await putPolicy(
      cas,
      policyText(alice.public)
        .replace("name: shop", `name: many-${String(i).padStart(3, "0")}`)
        .replaceAll(/^ {2}(ca|tls): .*\n/gm, "")
        .replace(/ {4}files: .*\n/, ""),
      [alice],
      {},
      clock,
    )
  const first = await list()
  assert.ok(first.policies.length <= 100)
  const second = await list(first.after)
  assert.equal(second.after, undefined)
  const names = new Set([...first.policies, ...second.policies].map(({ name }) => name))
  assert.equal([...names].filter((name) => name.startsWith("many-")).length, 105)
  const secrets = Array.from({ length: 257 }, (_, i) => `  s${i}: { kind: x509-ca, commonName: a }`)
  const text = policyText(alice.public).replace("secrets:\n", `secrets:\n${secrets.join("\n")}\n`)
  assert.throws(() => parsePolicy(text, "p"), /secrets: wanted at most 256 entries/)
})

test("a secret is exported to a policy that is there, and new policies come from who may create them", async () => {
  const text = (name: string, to: string) =>
    policyText(alice.public)
      .replace("name: shop", `name: ${name}`)
      .replace("size: 24", `size: 24, export: [${to}]`)
  await assert.rejects(
    putPolicy(cas, text("publisher", "squatted"), [alice], {}, clock),
    refused("refused", "policy-export"),
  )
  await putPolicy(cas, text("publisher", "shop"), [alice], {}, clock)
  const own = scratch()
  const bob = person()
  const closed = await openCas({
    store: own.dir,
    master: new Uint8Array(32),
    create: true,
    creators: [bob.public],
  })
  await assert.rejects(
    putPolicy(closed, policyText(alice.public), [alice]),
    refused("refused", "act-creator"),
  )
  await putPolicy(closed, policyText(alice.public), [alice, bob])
  await closed.close()
  own.remove()
})

test("a document that no longer accepts a running writer fences it at once, and no other", async () => {
  const base = policyText(alice.public).replace("name: shop", "name: fenced")
  await putPolicy(cas, base, [alice], {}, clock)
  await node.prepare(client)
  const write = async (instance: number) =>
    only(
      (
        await client.attest({
          policy: "fenced",
          service: "web",
          volumes: [{ name: "data", access: "write", instance, takeover: true }],
          makeEvidence: (binding) => node.evidence(binding, { svn: 3 + instance }),
        })
      ).volumes,
    )
  const [old, new_] = [await write(0), await write(1)]
  const [one, two] = [
    { sequence: 1, tag: "44".repeat(32) },
    { sequence: 2, tag: "55".repeat(32) },
  ]
  await client.moveTag("fenced", old, old, one)
  await client.moveTag("fenced", new_, new_, one)
  const [{ hash } = { hash: "" }] = await cas.policies("", 1, "fenced")
  const next = base
    .replace("name: fenced", `name: fenced\npredecessor: "${hash}"`)
    .replace("minSvn: 3", "minSvn: 4")
  await putPolicy(cas, next, [alice], {}, clock)
  await assert.rejects(client.moveTag("fenced", old, one, two), refused("rollback", "fenced"))
  await assert.rejects(client.renewLease("fenced", old), refused("rollback", "fenced"))
  await client.moveTag("fenced", new_, one, two)
  const log = (await cas.auditLines(1, 100_000)).join("\n")
  assert.match(log, /"field":"services\.web\.signer\.minSvn".*"kind":"lease-revoked"/)
})
