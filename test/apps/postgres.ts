import assert from "node:assert/strict"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import {
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
} from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { Client } from "pg"
import { run } from "../support/run.ts"
import { cannotServe, type VolumeDaemon, withDaemon } from "../support/volume-daemon.ts"

const versions = "/usr/lib/postgresql"
const clients = 4
const asPostgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]

function binaries(): string | undefined {
  if (!existsSync(versions)) return undefined
  const [newest] = readdirSync(versions).toSorted((a, b) => Number(b) - Number(a))
  return newest === undefined ? undefined : join(versions, newest, "bin")
}

/** For the `skip` of a test. */
export function cannotRunPostgres(): string | false {
  const user = spawnSync("id", ["-u", "postgres"])
  return cannotServe() || ((binaries() === undefined || user.status !== 0) && "needs postgresql")
}

/** A server whose data stand on the volume; its socket is beside the mount. Full durability: nothing is switched off. */
class Server {
  readonly #sockets: string
  readonly #data: string
  #child: ChildProcess | undefined

  constructor({ folder, mount }: VolumeDaemon) {
    this.#sockets = join(folder, "sockets")
    this.#data = join(mount, "pg")
    for (const path of [this.#sockets, this.#data]) {
      mkdirSync(path, { mode: 0o700 })
      chownSync(path, idOf("-u"), idOf("-g"))
    }
    this.run("initdb", "-D", this.#data, "-U", "postgres", "-A", "trust", "--data-checksums")
  }

  run(tool: string, ...args: readonly string[]): string {
    const env = { PGHOST: this.#sockets, PGUSER: "postgres" }
    return run([...asPostgres, join(binaries() ?? "", tool), ...args], { cwd: "/", env })
  }

  // As our own child: where nobody reaps orphans, a server that was killed would still look alive to the next one.
  async start(): Promise<void> {
    const options = ["-D", this.#data, "-k", this.#sockets, "-c", "listen_addresses="]
    const log = openSync(join(this.#sockets, "log"), "a")
    const [file = "", ...args] = [...asPostgres, join(binaries() ?? "", "postgres"), ...options]
    const child = spawn(file, args, { cwd: "/", stdio: ["ignore", log, log] })
    closeSync(log)
    this.#child = child
    for (let attempt = 0; child.exitCode === null && attempt < 600; attempt += 1) {
      try {
        await (await this.connect()).end()
        return
      } catch {
        await sleep(100) // it recovers
      }
    }
    throw new Error(
      `no server; its log:\n${readFileSync(join(this.#sockets, "log"), "utf8").slice(-3000)}`,
    )
  }

  async stop(): Promise<void> {
    await this.#ends("SIGINT")
    assert.match(this.run("pg_controldata", this.#data), /state: +shut down$/m)
  }

  /** The postmaster and each of its children, by SIGKILL. */
  async kill(): Promise<void> {
    const children = childrenOf(this.#child?.pid ?? -1)
    const gone = this.#ends("SIGKILL")
    for (const pid of children) kill(pid)
    await gone
    while (children.some((pid) => existsSync(`/proc/${pid}/exe`))) await sleep(20)
  }

  async #ends(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => {
      child.once("exit", resolve)
    })
    child.kill(signal)
    await gone
  }

  async connect(): Promise<Client> {
    const client = new Client({ host: this.#sockets, user: "postgres", database: "postgres" })
    client.on("error", () => undefined) // it is going to be killed
    await client.connect()
    return client
  }
}

function idOf(which: "-u" | "-g"): number {
  return Number(run(["id", which, "postgres"]))
}

function childrenOf(pid: number): number[] {
  return readdirSync("/proc").flatMap((name) => {
    try {
      const stat = /^\d+$/.test(name) ? readFileSync(`/proc/${name}/stat`, "latin1") : ""
      return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]) === pid
        ? [Number(name)]
        : []
    } catch {
      return []
    }
  })
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL")
  } catch {
    // it has ended
  }
}

/** One client: a row for each transaction, and its number in `acknowledged` when COMMIT has returned. Ends with its connection. */
async function writes(server: Server, id: number, acknowledged: number[]): Promise<void> {
  const client = await server.connect()
  try {
    for (;;) {
      const n = (acknowledged[id] ?? 0) + 1
      await client.query("BEGIN")
      await client.query("INSERT INTO acks VALUES ($1, $2, repeat('x', $3))", [
        id,
        n,
        (n * 37) % 900,
      ])
      await client.query("UPDATE totals SET n = $2 WHERE client = $1", [id, n])
      await client.query("COMMIT")
      acknowledged[id] = n
    }
  } catch {
    // the server was killed
  } finally {
    await client.end().catch(() => undefined)
  }
}

async function prepare(server: Server): Promise<void> {
  server.run("pgbench", "-q", "-i", "-s", "1", "postgres")
  const client = await server.connect()
  await client.query("CREATE TABLE acks (client int, n int, text text, PRIMARY KEY (client, n))")
  await client.query("CREATE TABLE totals (client int PRIMARY KEY, n int)")
  for (let id = 0; id < clients; id += 1)
    await client.query("INSERT INTO totals VALUES ($1, 0)", [id])
  await client.query("CREATE EXTENSION IF NOT EXISTS amcheck")
  await client.end()
}

/** What was acknowledged is there, at most one transaction a client is there beside it, and pgbench's sums agree. */
async function check(server: Server, acknowledged: number[], killed: string): Promise<void> {
  const client = await server.connect()
  try {
    const { rows } = await client.query<{ client: number; newest: number; count: number }>(
      "SELECT client, max(n) AS newest, count(*)::int AS count FROM acks GROUP BY client",
    )
    for (const { client: id, newest, count } of rows) {
      const wanted = acknowledged[id] ?? 0
      assert.equal(count, newest, `client ${id}: a transaction is missing`)
      assert.ok(
        newest === wanted || newest === wanted + 1,
        `client ${id}: acknowledged ${wanted}, found ${newest}, killed the ${killed}`,
      )
      acknowledged[id] = newest
    }
    const sums = await client.query(
      `SELECT (SELECT sum(abalance) FROM pgbench_accounts) AS a, (SELECT sum(tbalance) FROM pgbench_tellers) AS t,
        (SELECT sum(bbalance) FROM pgbench_branches) AS b, (SELECT coalesce(sum(delta), 0) FROM pgbench_history) AS h`,
    )
    const { a, t, b, h } = sums.rows[0] as Record<"a" | "t" | "b" | "h", string>
    assert.deepEqual([a, t, b], [h, h, h])
  } finally {
    await client.end()
  }
  server.run("pg_amcheck", "--heapallindexed", "postgres")
}

/** initdb on a new volume; then in each round load from pgbench and from our own clients, a kill, recovery, and a check. */
export async function postgresRounds(
  rounds: readonly ("server" | "daemon")[],
  seconds: number,
): Promise<void> {
  await withDaemon({}, async (daemon) => {
    const server = new Server(daemon)
    try {
      await server.start()
      await prepare(server)
      const acknowledged = Array.from({ length: clients }, () => 0)
      for (const whom of rounds) {
        await killUnderLoad(daemon, server, acknowledged, whom, seconds)
        await server.start()
        await check(server, acknowledged, whom)
      }
      assert.ok(Math.min(...acknowledged) > rounds.length, "each client got some work done")
      await server.stop()
    } finally {
      await server.kill()
    }
  })
}

async function killUnderLoad(
  daemon: VolumeDaemon,
  server: Server,
  acknowledged: number[],
  whom: "server" | "daemon",
  seconds: number,
): Promise<void> {
  const load = acknowledged.map((_, id) => writes(server, id, acknowledged))
  const bench = pgbench(daemon)
  await sleep(seconds * 1000)
  if (whom === "daemon") await daemon.kill()
  await server.kill()
  await Promise.all([...load, bench])
  if (whom === "server") return
  daemon.checkWhole()
  await daemon.start()
}

async function pgbench(daemon: VolumeDaemon): Promise<void> {
  const args = ["-n", "-c", "2", "-T", "600", "-h", join(daemon.folder, "sockets")]
  const child = spawn(join(binaries() ?? "", "pgbench"), [...args, "-U", "postgres", "postgres"], {
    stdio: "ignore",
  })
  await new Promise((resolve) => {
    child.once("exit", resolve)
  })
}
