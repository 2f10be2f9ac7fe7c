import assert from "node:assert/strict"
import { cpSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { after, test } from "node:test"
import { Node, person, policyText, putPolicy, scratch } from "../../test/support/cas.ts"
import { fromHex, toHex } from "../bytes/index.ts"
import type { AnchorState } from "../volume/index.ts"
import { type EmbeddedCas, openCasAnchor, openEmbeddedCas, type VolumeGrant } from "./index.ts"
import { decodeSeen } from "./seen.ts"

const place = scratch()
after(place.remove)

const alice = person()

async function attest({ client }: EmbeddedCas, node: Node): Promise<VolumeGrant> {
  const answer = await client.attest({
    policy: "shop",
    service: "web",
    makeEvidence: (binding) => node.evidence(binding),
    volumes: [{ name: "data", access: "write", instance: 0, takeover: true }],
  })
  const [grant] = answer.volumes
  assert.ok(grant !== undefined)
  return grant
}

function stateAt(grant: VolumeGrant, n: number): AnchorState {
  return {
    volumeId: fromHex(grant.id) ?? new Uint8Array(),
    sequence: n,
    tag: new Uint8Array(32).fill(n),
    epoch: 1,
    salt: new Uint8Array(32).fill(9),
    offset: 4096 * n,
  }
}

test("a volume's thread reads and moves its anchor in the CAS without an event loop", async () => {
  const embedded = await openEmbeddedCas(place.dir)
  const { cas, client } = embedded
  await putPolicy(cas, policyText(alice.public), [alice])
  const node = await new Node().prepare(client)
  const grant = await attest(embedded, node)
  const state = (n: number) => stateAt(grant, n)
  const anchor = openCasAnchor({ type: "embedded", dir: place.dir }, "shop", grant)
  assert.equal(anchor.read(), "new")
  assert.equal(anchor.move("new", state(1)), true)
  assert.equal(anchor.move("new", state(1)), true)
  assert.deepEqual(anchor.read(), state(1))
  assert.equal(anchor.move("new", state(2)), false)
  assert.equal(anchor.move(state(1), state(2)), true)
  const second = await attest(embedded, node)
  assert.equal(second.tag, toHex(state(2).tag))
  assert.equal(anchor.move(state(2), state(3)), false)
  assert.throws(() => anchor.close(), /epoch/)
  const reader = openCasAnchor({ type: "embedded", dir: place.dir }, "shop", second)
  assert.deepEqual(reader.read(), state(2))
  reader.close()
  await embedded.close()
})

test("moves of a volume's thread are in the CAS's log with those of others, and all are there after a power cut", async () => {
  const dir = join(place.dir, "moves")
  const embedded = await openEmbeddedCas(dir)
  const { cas, client } = embedded
  await putPolicy(cas, policyText(alice.public), [alice])
  const grant = await attest(embedded, await new Node().prepare(client))
  const anchor = openCasAnchor({ type: "embedded", dir }, "shop", grant)
  assert.equal(anchor.move("new", stateAt(grant, 1)), true)
  // Enough for the log to be written ahead with zeros; now and then another connection commits.
  for (let n = 1; n < 40; n += 1) {
    assert.equal(anchor.move(stateAt(grant, n), stateAt(grant, n + 1)), true)
    if (n % 8 === 0) await client.renewLease("shop", grant)
  }
  assert.equal(anchor.move(stateAt(grant, 3), stateAt(grant, 50)), false)
  const word = anchor.seen?.()
  assert.ok(word !== undefined)

  const copy = join(place.dir, "after-power-cut")
  cpSync(dir, copy, { recursive: true })
  const again = await openEmbeddedCas(copy)
  const found = await again.client.current("shop", grant, decodeSeen(word))
  assert.equal(found.tag, toHex(stateAt(grant, 40).tag))
  await again.cas.verify()
  const lines = (await again.cas.auditLines(1, 1000)).map((line) => line.slice(65))
  assert.equal(lines.filter((line) => line.includes('"tag-moved"')).length, 40)
  assert.match(lines.at(-1) ?? "", /"kind":"refused"/)
  await again.close()
  anchor.close()
  await embedded.close()
})

/** A policy, a grant for its volume, and an anchor that has moved `moves` times. */
async function anchored(name: string, moves: number) {
  const dir = join(place.dir, name)
  const embedded = await openEmbeddedCas(dir)
  const { cas, client } = embedded
  await putPolicy(cas, policyText(alice.public), [alice])
  const node = await new Node().prepare(client)
  const grant = await attest(embedded, node)
  const anchor = openCasAnchor({ type: "embedded", dir }, "shop", grant)
  const states = Array.from({ length: 60 }, (_, n) => stateAt(grant, n))
  const state = (n: number) => states[n] ?? stateAt(grant, n)
  for (let n = 0; n < moves; n += 1)
    assert.equal(anchor.move(n === 0 ? "new" : state(n), state(n + 1)), true)
  return { dir, embedded, node, grant, anchor, state }
}

test("a move that was prepared is the move, whoever else commits in between; one that never follows is nothing", async () => {
  const { embedded, node, grant, anchor, state } = await anchored("prepared", 1)
  for (let n = 1; n < 40; n += 1) {
    anchor.prepare?.(state(n), state(n + 1))
    if (n % 3 === 0) await embedded.client.renewLease("shop", grant)
    assert.equal(anchor.move(state(n), state(n + 1)), true)
    if (n % 5 === 0) anchor.prepare?.(state(n + 1), state(50))
    if (n % 7 === 0) assert.deepEqual(anchor.read(), state(n + 1))
  }
  const word = anchor.seen?.()
  assert.ok(word !== undefined)
  anchor.requireNotBehind?.([word])
  const found = await embedded.client.current("shop", grant, decodeSeen(word))
  assert.equal(found.tag, toHex(state(40).tag))
  await embedded.cas.verify()
  const lines = await embedded.cas.auditLines(1, 1000)
  assert.equal(lines.filter((line) => line.includes('"tag-moved"')).length, 40)

  anchor.prepare?.(state(3), state(50))
  assert.equal(anchor.move(state(3), state(50)), false)
  anchor.prepare?.(state(40), state(41))
  await attest(embedded, node)
  assert.equal(anchor.move(state(40), state(41)), false)
  assert.throws(() => anchor.close(), /epoch/)
  await embedded.cas.verify()
  await embedded.close()
})

type Rows = Record<string, unknown>[]

function putBack(database: DatabaseSync, table: string, rows: Rows): void {
  database.exec(`DELETE FROM ${table}`)
  const put = database.prepare(`INSERT INTO ${table} (key, value) VALUES (?, ?)`)
  for (const { key, value } of rows) put.run(String(key), value as Uint8Array)
}

test("rows that somebody puts back under an open anchor are refused, also by a move that was prepared", async () => {
  for (const [what, tables, refused] of [
    ["whole", ["meta", "volumes", "log", "changes"], /behind what it has signed/],
    ["head", ["meta"], /behind what it has signed/],
  ] as const)
    for (const prepares of [false, true]) {
      const { dir, embedded, anchor, state } = await anchored(`put-back-${what}-${prepares}`, 2)
      const database = new DatabaseSync(join(dir, "cas.db"))
      const older = tables.map((table): Rows => database.prepare(`SELECT * FROM ${table}`).all())
      assert.equal(anchor.move(state(2), state(3)), true)
      if (prepares) anchor.prepare?.(state(3), state(4))
      for (const [i, table] of tables.entries()) putBack(database, table, older[i] ?? [])
      database.close()
      assert.equal(anchor.move(state(3), state(4)), false, what)
      assert.throws(() => anchor.read(), refused)
      assert.throws(() => anchor.close(), refused)
      await embedded.close()
    }
})

test("the volume's row alone put back is another state than the one to be moved from", async () => {
  for (const prepares of [false, true]) {
    const { dir, embedded, anchor, state } = await anchored(`put-back-row-${prepares}`, 2)
    const database = new DatabaseSync(join(dir, "cas.db"))
    const [older] = database.prepare("SELECT value FROM volumes").all()
    assert.equal(anchor.move(state(2), state(3)), true)
    if (prepares) anchor.prepare?.(state(3), state(4))
    database.prepare("UPDATE volumes SET value = ?").run(older?.["value"] as Uint8Array)
    database.close()
    assert.equal(anchor.move(state(3), state(4)), false)
    assert.deepEqual(anchor.read(), state(2))
    await embedded.close()
  }
})
