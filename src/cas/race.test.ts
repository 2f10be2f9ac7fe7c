import assert from "node:assert/strict"
import { join } from "node:path"
import { after, test } from "node:test"
import { Node, person, policyText, putPolicy, scratch } from "../../test/support/cas.ts"
import { race, requireLinear } from "../../test/support/cas-race.ts"
import { startPostgres } from "../../test/support/postgres.ts"
import { randomBytes } from "../crypto/index.ts"
import { directTransport } from "./embedded.ts"
import { type Cas, CasClient, openCas } from "./index.ts"

const place = scratch()
const postgres = startPostgres()
after(() => {
  postgres?.stop()
  place.remove()
})

async function twoReplicas(store: string): Promise<void> {
  const master = randomBytes(32)
  const replicas: readonly Cas[] = [
    await openCas({ store, master, create: true }),
    await openCas({ store, master, create: true }),
  ]
  const [first] = replicas
  assert.ok(first !== undefined)
  const alice = person()
  await putPolicy(first, policyText(alice.public), [alice])
  const clients = Array.from({ length: 8 }, (_, i) => {
    const cas = replicas[i % 2] ?? first
    return new CasClient({
      transport: directTransport(cas),
      casKey: cas.identity.publicKey,
      patience: 2000,
    })
  })
  const [any] = clients
  assert.ok(any !== undefined)
  const node = await new Node().prepare(any)
  const told = await race({ clients, node, untilMs: 2500 })
  assert.ok(told.length > 1, `${told.length} acknowledged`)
  await requireLinear(first, told)
  for (const cas of replicas) await cas.close()
}

test("eight writers on one volume over two replicas on SQLite: one linear history", async () => {
  await twoReplicas(join(place.dir, "race"))
})

test("eight writers on one volume over two replicas on PostgreSQL: one linear history", {
  skip: postgres === undefined && "no PostgreSQL is installed",
}, async () => {
  await twoReplicas(postgres?.url ?? "")
})
