/** The database is the adversary's, also while the CAS runs: what its operator puts back is not believed. */
import assert from "node:assert/strict"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { after, test } from "node:test"
import { toHex } from "../../src/bytes/index.ts"
import { directTransport } from "../../src/cas/embedded.ts"
import {
  CasClient,
  type EmbeddedCas,
  openCas,
  openEmbeddedCas,
  type VolumeGrant,
} from "../../src/cas/index.ts"
import { randomBytes } from "../../src/crypto/index.ts"
import { CofferError } from "../../src/errors.ts"
import { Node, person, policyText, putPolicy, scratch } from "../support/cas.ts"
import { startPostgres } from "../support/postgres.ts"

const place = scratch()
const postgres = startPostgres()
after(() => {
  postgres?.stop()
  place.remove()
})
const alice = person()

interface Running extends EmbeddedCas {
  readonly dir: string
  readonly node: Node
}

async function running(name: string): Promise<Running> {
  const dir = join(place.dir, name)
  const made = await openEmbeddedCas(dir)
  await putPolicy(made.cas, policyText(alice.public), [alice])
  await made.cas.guard()
  return { ...made, dir, node: await new Node().prepare(made.client) }
}

async function grantOf({ client, node }: Pick<Running, "client" | "node">): Promise<VolumeGrant> {
  const { volumes } = await client.attest({
    policy: "shop",
    service: "web",
    volumes: [{ name: "data", access: "write", instance: 0, takeover: true }],
    makeEvidence: (binding) => node.evidence(binding),
  })
  const [grant] = volumes
  assert.ok(grant !== undefined)
  return grant
}

const at = (sequence: number) => ({ sequence, tag: String(sequence).repeat(64).slice(0, 64) })

function rollback(reason: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof CofferError, String(error))
    assert.equal(`${error.code} ${error.reason}`, `rollback ${reason}`, error.message)
    return true
  }
}

test("single rows put back under a running CAS: a tag, a policy, a secret, a used challenge", async () => {
  const cas = await running("rows")
  const grant = await grantOf(cas)
  await cas.client.moveTag("shop", grant, grant, at(1))
  const disk = new DatabaseSync(join(cas.dir, "cas.db"))
  const read = (table: string, key: string) =>
    disk.prepare(`SELECT value FROM ${table} WHERE key = ?`).get(key)?.["value"] as Uint8Array
  const write = (table: string, key: string, value: Uint8Array) =>
    disk.prepare(`UPDATE ${table} SET value = ? WHERE key = ?`).run(value, key)
  const harm = async (table: string, key: string, older: Uint8Array, reason: string) => {
    const newest = read(table, key)
    write(table, key, older)
    await assert.rejects(grantOf(cas), rollback(reason), `${table} ${key}`)
    write(table, key, newest)
  }
  const tag = read("volumes", "shop/data/0")
  const policy = read("policies", "shop")
  const secret = read("secrets", "shop/token")
  await cas.client.moveTag("shop", grant, at(1), at(2))
  const { result } = await putPolicy(
    cas.cas,
    policyText(alice.public)
      .replace("size: 24", "size: 25")
      .replace(
        "name: shop\n",
        `name: shop\npredecessor: "${(await cas.cas.policies("", 1))[0]?.hash}"\n`,
      ),
    [alice],
  )
  assert.equal(result.verb, "put-policy")
  await harm("volumes", "shop/data/0", tag, "row-older")
  await harm("policies", "shop", policy, "row-older")
  await harm("secrets", "shop/token", secret, "row-older")
  let nonce = ""
  let evidence: unknown
  await cas.client.attest({
    policy: "shop",
    service: "web",
    volumes: [],
    makeEvidence: (binding) => {
      nonce = toHex(binding.nonce)
      evidence = cas.node.evidence(binding)
      return evidence
    },
  })
  disk.exec("DELETE FROM nonces")
  await assert.rejects(
    cas.cas.attest({
      policy: "shop",
      service: "web",
      volumes: [],
      nonce,
      evidence,
    }),
    rollback("row-older"),
  )
  disk.prepare("DELETE FROM volumes WHERE key = 'shop/data/0'").run()
  await assert.rejects(grantOf(cas), rollback("row-older"))
  disk.close()
  await cas.close()
})

test("a whole older copy, grown and with the newer log put in: a client's head is not in its history", async () => {
  const cas = await running("whole")
  const grant = await grantOf(cas)
  const disk = new DatabaseSync(join(cas.dir, "cas.db"))
  const tables = [
    "meta",
    "policies",
    "documents",
    "secrets",
    "volumes",
    "nonces",
    "verdicts",
    "changes",
  ]
  const rows = (table: string) => disk.prepare(`SELECT key, value FROM ${table}`).all()
  const older = new Map([...tables, "log"].map((table) => [table, rows(table)]))
  await cas.client.moveTag("shop", grant, grant, at(1))
  const { head } = await cas.client.attest({
    policy: "shop",
    service: "web",
    volumes: [],
    makeEvidence: (binding) => cas.node.evidence(binding),
  })
  await cas.close()
  const newerLog = rows("log")
  for (const [table, list] of older) {
    disk.exec(`DELETE FROM ${table}`)
    const insert = disk.prepare(`INSERT INTO ${table} (key, value) VALUES (?, ?)`)
    for (const row of list) insert.run(row["key"] ?? "", row["value"] ?? null)
  }
  const seen = async (client: CasClient, node: Node) =>
    await client.attest({
      policy: "shop",
      service: "web",
      volumes: [],
      seen: head,
      makeEvidence: (binding) => node.evidence(binding),
    })
  // The log is public: its newer lines are put after the older head, where a look-up would find them.
  const put = disk.prepare("INSERT OR REPLACE INTO log (key, value) VALUES (?, ?)")
  for (const row of newerLog) put.run(row["key"] ?? "", row["value"] ?? null)
  const again = await openEmbeddedCas(cas.dir)
  const node = await new Node().prepare(again.client)
  await assert.rejects(seen(again.client, node), rollback("cas-rollback"))
  await assert.rejects(
    again.cas.guard(),
    (error) => error instanceof CofferError && error.reason === "audit-chain",
  )
  // Or its history goes on until it is long enough, and then that one line is put in.
  const { sequence } = await again.cas.head()
  disk.prepare("DELETE FROM log WHERE CAST(key AS INTEGER) > ?").run(sequence)
  await again.cas.guard()
  for (let i = 0; i < 10; i += 1) await again.cas.note("cas-started", {})
  const line = newerLog.find(({ key }) => Number(key) === head.sequence)
  put.run(line?.["key"] ?? "", line?.["value"] ?? null)
  await assert.rejects(seen(again.client, node), rollback("cas-rollback"))
  disk.close()
  await again.close()
})

/** Two replicas: each notices the harm, and takes what the other has rightly done. */
async function twoGuards(store: string, harm: (tag: "keep" | "put back") => Promise<void>) {
  const master = randomBytes(32)
  const open = async () => {
    const cas = await openCas({ store, master, create: true })
    return {
      cas,
      client: new CasClient({
        transport: directTransport(cas),
        casKey: cas.identity.publicKey,
        patience: 0,
      }),
    }
  }
  const [one, two] = [await open(), await open()]
  await putPolicy(one.cas, policyText(alice.public), [alice])
  await one.cas.guard()
  await two.cas.guard()
  const node = await new Node().prepare(one.client)
  let grant = await grantOf({ client: one.client, node })
  await one.client.moveTag("shop", grant, grant, at(1))
  await harm("keep")
  await two.client.moveTag("shop", grant, at(1), at(2))
  // Renewals are in no log entry; the other replica follows them all the same.
  await two.client.renewLease("shop", grant)
  await one.client.renewLease("shop", grant)
  assert.equal((await two.client.current("shop", grant)).sequence, 2)
  grant = await grantOf({ client: two.client, node })
  await one.client.moveTag("shop", grant, at(2), at(3))
  await harm("put back")
  for (const { client } of [one, two])
    await assert.rejects(grantOf({ client, node }), rollback("row-older"))
  for (const { cas } of [one, two]) await cas.close()
}

test("two replicas on SQLite", async () => {
  const dir = join(place.dir, "two")
  let kept: Uint8Array | undefined
  await twoGuards(dir, (what) => {
    const disk = new DatabaseSync(join(dir, "cas.db"))
    if (what === "keep")
      kept = disk.prepare("SELECT value FROM volumes").get()?.["value"] as Uint8Array
    else disk.prepare("UPDATE volumes SET value = ?").run(kept ?? null)
    disk.close()
    return Promise.resolve()
  })
})

test("two replicas on PostgreSQL", {
  skip: postgres === undefined && "no PostgreSQL is installed",
}, async () => {
  const { Client } = (await import("pg")).default
  await twoGuards(postgres?.url ?? "", async (what) => {
    const client = new Client({ connectionString: postgres?.url })
    await client.connect()
    if (what === "keep") await client.query("CREATE TABLE kept AS SELECT * FROM coffer_volumes")
    else
      await client.query(
        "UPDATE coffer_volumes SET value = kept.value FROM kept WHERE kept.key = coffer_volumes.key",
      )
    await client.end()
  })
})
