/**
 * Eight writers on one volume while the CAS, its replicas and its database are killed at random: exactly one linear
 * history, every acknowledged tag in it. COFFER_SOAK: minutes for each store, default 5.
 */
import assert from "node:assert/strict"
import { type ChildProcess, spawn } from "node:child_process"
import { join } from "node:path"
import { after, test } from "node:test"
import { fromHex, toHex } from "../../src/bytes/index.ts"
import { httpTransport } from "../../src/cas/http-transport.ts"
import { CasClient, openCas } from "../../src/cas/index.ts"
import { randomBytes } from "../../src/crypto/index.ts"
import { Node, person, policyText, putPolicy, scratch } from "../support/cas.ts"
import { race, requireLinear } from "../support/cas-race.ts"
import { startPostgres } from "../support/postgres.ts"

const minutes = Number(process.env["COFFER_SOAK"] ?? 5)
const place = scratch()
const postgres = startPostgres()
after(() => {
  postgres?.stop()
  place.remove()
})

/** A server on a port of its own, that is started again whenever it was killed. */
class Replica {
  readonly #store: string
  readonly #master: string
  #port = "0"
  #child: ChildProcess | undefined
  url = ""

  constructor(store: string, master: string) {
    this.#store = store
    this.#master = master
  }

  async start(): Promise<void> {
    const main = join(import.meta.dirname, "../support/cas-server.main.ts")
    const child = spawn(
      process.execPath,
      ["--disable-warning=ExperimentalWarning", main, this.#store, this.#master, this.#port],
      { stdio: ["ignore", "pipe", "ignore", "ipc"] },
    )
    this.#child = child
    const line = await new Promise<string>((resolve) => {
      child.stdout?.once("data", (data: Buffer) => resolve(data.toString()))
      child.once("exit", () => resolve(""))
    })
    // The database was away just then: the next kill starts it again.
    if (line === "") return
    this.url = line.split(" ")[0] ?? ""
    this.#port = new URL(this.url).port
  }

  async kill(): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => child.once("exit", resolve))
    child.kill("SIGKILL")
    await gone
  }
}

interface Harm {
  /** Kills the database, the n-th time. */
  database?(round: number): void
}

async function soak(store: string, replicaCount: number, harm: Harm): Promise<void> {
  const master = randomBytes(32)
  const cas = await openCas({ store, master, create: true })
  const alice = person()
  await putPolicy(cas, policyText(alice.public), [alice])
  const { publicKey, name } = cas.identity
  await cas.close()
  const replicas = Array.from({ length: replicaCount }, () => new Replica(store, toHex(master)))
  await Promise.all(replicas.map((replica) => replica.start()))
  const casKey = fromHex(name) ?? publicKey
  const clients = Array.from(
    { length: 8 },
    (_, i) =>
      new CasClient({
        transport: httpTransport(replicas[i % replicaCount]?.url ?? "", casKey),
        casKey,
        patience: 3000,
      }),
  )
  const [first] = clients
  assert.ok(first !== undefined)
  const node = await new Node().prepare(first)
  const untilMs = minutes * 60_000
  const end = Date.now() + untilMs
  const kills = { replicas: 0, database: 0 }
  const killing = (async () => {
    while (Date.now() < end - 3000) {
      await new Promise((resolve) => setTimeout(resolve, 500 + Math.random() * 2500))
      const victim = replicas[Math.floor(Math.random() * replicaCount)]
      await victim?.kill()
      kills.replicas += 1
      await victim?.start()
    }
  })()
  // At moments of its own: while replicas run, start, commit, or are dead.
  const harming = (async () => {
    while (harm.database !== undefined && Date.now() < end - 3000) {
      await new Promise((resolve) => setTimeout(resolve, 2000 + Math.random() * 10_000))
      kills.database += 1
      harm.database(kills.database)
    }
  })()
  const told = await race({ clients, node, untilMs })
  await Promise.all([killing, harming])
  for (const replica of replicas) await replica.kill()
  for (const client of clients) await client.close()
  const again = await openCas({ store, master, create: false })
  const length = await requireLinear(again, told)
  console.log(
    `${told.length} acknowledged, history of ${length}; killed: CAS ${kills.replicas} times, database ${kills.database} times`,
  )
  assert.ok(told.length > 2 * minutes)
  await again.close()
}

test("SQLite: the CAS is killed at random", async () => {
  await soak(join(place.dir, "soak"), 1, {})
})

test("PostgreSQL: replicas and database are killed at random", {
  skip: postgres === undefined && "no PostgreSQL is installed",
}, async () => {
  await soak(postgres?.url ?? "", 2, {
    database: (round) => postgres?.restart(round % 2 === 0 ? "kill" : undefined),
  })
})
