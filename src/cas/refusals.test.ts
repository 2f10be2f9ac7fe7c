import assert from "node:assert/strict"
import { after, test } from "node:test"
import { Node, person, policyText, putPolicy, scratch } from "../../test/support/cas.ts"
import { CofferError } from "../errors.ts"
import { openEmbeddedCas } from "./index.ts"
import { networkOf, RateLimit } from "./rate-limit.ts"

const place = scratch()
after(place.remove)
const alice = person()
const { cas, client } = await openEmbeddedCas(place.dir)
after(() => cas.close())
await putPolicy(cas, policyText(alice.public), [alice])
const node = await new Node().prepare(client)

interface Refused {
  readonly subject: string
  readonly detail: Readonly<Record<string, string | number>>
}

async function refusals(): Promise<Refused[]> {
  const lines = await cas.auditLines(1, 10_000)
  return lines
    .map((line) => JSON.parse(line.slice(65)) as Refused & { readonly kind: string })
    .filter(({ kind }) => kind === "refused")
}

/** What the log says of a call that must be refused. */
async function said(work: Promise<unknown>): Promise<Refused | undefined> {
  await assert.rejects(work, CofferError)
  return (await refusals()).at(-1)
}

const nonce = "00".repeat(32)

test("evidence that does not verify, acts and tokens that are not good: who asked, for what, and why", async () => {
  const ask = (service: string, from: Node) =>
    client.attest({
      policy: "shop",
      service,
      makeEvidence: (binding) => {
        const evidence = from.evidence(binding, { mrEnclave: "00".repeat(32) })
        return from === node ? evidence : { ...evidence, report: {} }
      },
    })
  const policy = await said(ask("web", node))
  assert.equal(policy?.subject, "shop/web")
  assert.equal(policy.detail["field"], "services.web.measurements")
  assert.equal(policy.detail["mrEnclave"], "00".repeat(32))
  const bad = await said(ask("web", await new Node().prepare(client)))
  assert.equal(bad?.detail["call"], "attest")
  const stale = await said(
    cas.attest({ policy: "shop", service: "web", nonce, evidence: {} }, "192.0.2.1"),
  )
  assert.deepEqual(stale?.detail, { call: "attest", from: "192.0.2.1", reason: "nonce" })
  const [last] = (await cas.verdicts("", 10)).filter(({ accepted }) => !accepted)
  assert.deepEqual([last?.subject, last?.reason, last?.from], ["shop/web", "nonce", "192.0.2.1"])
  const mallory = person()
  const act = await said(putPolicy(cas, policyText(alice.public, "# other"), [mallory]))
  assert.equal(act?.detail["field"], "access.update")
  const place32 = { policy: "shop", volume: "data", instance: 0, id: nonce, token: nonce, epoch: 1 }
  const token = await said(cas.renew(place32, false, "192.0.2.2"))
  assert.deepEqual([token?.subject, token?.detail["reason"]], ["shop/data/0", "lease-token"])
})

test("a flood is counted, not written: the disk is not a stranger's to fill", async () => {
  const before = (await refusals()).length
  const ask = (from: string, service: string) =>
    cas.attest({ policy: "shop", service, nonce, evidence: {} }, from).catch(() => undefined)
  for (let i = 0; i < 500; i += 1) await ask("198.51.100.1", `made-up-${i}`)
  const flood = await refusals()
  assert.equal(flood.length - before, 10)
  // Another asker is not hidden by it, and the count is not lost.
  await ask("198.51.100.2", "web")
  assert.equal((await refusals()).at(-1)?.detail["unlogged"], 490)
  for (let i = 0; i < 500; i += 1) await ask(`203.0.113.${i % 250}`, "web")
  assert.ok((await refusals()).length <= 101)
  assert.ok((await cas.verdicts("", 1000)).every(({ subject }) => subject === "shop/web"))
  await cas.verify()
})

test("a bucket for each address, an IPv6 network being one", () => {
  assert.equal(networkOf("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2")
  assert.equal(networkOf("2001:db8::7"), "2001:db8:0:0")
  assert.equal(networkOf("::1"), "0:0:0:0")
  assert.equal(networkOf("::ffff:192.0.2.1"), "::ffff:192.0.2.1")
  const limit = new RateLimit({ burst: 2, perSecond: 1 })
  const at = (address: string, ms: number) => limit.allows(address, 1, ms)
  assert.deepEqual(
    [at("2001:db8::1", 0), at("2001:db8::2", 0), at("2001:db8::3", 0), at("192.0.2.1", 0)],
    [true, true, false, true],
  )
  assert.equal(at("2001:db8::3", 1000), true)
})
