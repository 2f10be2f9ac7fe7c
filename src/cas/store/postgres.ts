import pg from "pg"
import { CofferError } from "../../errors.ts"
import {
  type Backend,
  type Reader,
  type Row,
  rangeStart,
  type Table,
  tables,
  type Write,
} from "./backend.ts"

/** Any number; all CAS replicas of a database take this lock in turn. */
const commitLock = 7_301_853_412

/**
 * PostgreSQL, for several replicas of one CAS. Commits of all replicas take turns by an advisory lock that the
 * transaction holds, so it is given back when a replica dies.
 */
export async function openPostgres(url: string): Promise<Backend> {
  const pool = new pg.Pool({
    connectionString: url,
    max: 8,
    connectionTimeoutMillis: 15_000,
    idleTimeoutMillis: 30_000,
    statement_timeout: 20_000,
  })
  // An idle connection that breaks must not end the process; the next query reports it.
  pool.on("error", () => undefined)
  const backend = new PostgresBackend(pool)
  try {
    await backend.prepare()
  } catch (error) {
    await pool.end()
    throw postgresError(error)
  }
  return backend
}

interface Queryable {
  query(text: string, values: unknown[]): Promise<{ rows: unknown[] }>
}

class PostgresReader implements Reader {
  readonly #client: Queryable

  constructor(client: Queryable) {
    this.#client = client
  }

  async get(table: Table, key: string): Promise<Uint8Array | undefined> {
    const { rows } = await this.#client.query(`SELECT value FROM coffer_${table} WHERE key = $1`, [
      key,
    ])
    return rowOf(rows[0])?.value
  }

  async range(table: Table, prefix: string, after: string, limit: number): Promise<readonly Row[]> {
    const { rows } = await this.#client.query(
      `SELECT key, value FROM coffer_${table} WHERE key > $1 AND key < $2 ORDER BY key LIMIT $3`,
      [rangeStart(prefix, after), `${prefix}\u007f`, limit],
    )
    return rows.flatMap((row) => rowOf(row) ?? [])
  }
}

function rowOf(row: unknown): Row | undefined {
  if (typeof row !== "object" || row === null || !("value" in row)) return undefined
  const { value } = row
  const key = "key" in row ? String(row.key) : ""
  return value instanceof Uint8Array ? { key, value } : undefined
}

class PostgresBackend extends PostgresReader implements Backend {
  readonly #pool: pg.Pool
  #ended: Promise<void> | undefined

  constructor(pool: pg.Pool) {
    super({
      query: async (text, values) => {
        try {
          return await pool.query<Record<string, unknown>>(text, values)
        } catch (error) {
          throw postgresError(error)
        }
      },
    })
    this.#pool = pool
  }

  /** Creates what is missing; replicas that start together take turns. */
  async prepare(): Promise<void> {
    await this.#alone(async (client) => {
      for (const table of tables)
        await client.query(
          `CREATE TABLE IF NOT EXISTS coffer_${table} (key text COLLATE "C" PRIMARY KEY, value bytea NOT NULL)`,
        )
    })
  }

  async snapshot<T>(work: (reader: Reader) => Promise<T>): Promise<T> {
    let done: { readonly value: T } | undefined
    await this.#connected(async (client) => {
      await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
      done = { value: await work(new PostgresReader(client)) }
      await client.query("COMMIT")
    })
    if (done === undefined) throw new TypeError("work was done, or threw")
    return done.value
  }

  async count(table: Table): Promise<number> {
    const { rows } = await this.#pool.query<{ readonly n: string }>(
      `SELECT count(*) AS n FROM coffer_${table}`,
    )
    return Number(rows[0]?.n)
  }

  async commit(work: (reader: Reader) => Promise<readonly Write[]>): Promise<void> {
    await this.#alone(async (client) => {
      for (const [table, writes] of byTable(await work(new PostgresReader(client))))
        await write(client, table, writes)
    })
  }

  async #alone(body: (client: pg.PoolClient) => Promise<void>): Promise<void> {
    await this.#connected(async (client) => {
      await client.query("BEGIN")
      await client.query("SELECT pg_advisory_xact_lock($1)", [commitLock])
      await body(client)
      await client.query("COMMIT")
    })
  }

  async #connected(body: (client: pg.PoolClient) => Promise<void>): Promise<void> {
    let client: pg.PoolClient | undefined
    let broken: Error | undefined
    try {
      client = await this.#pool.connect()
      client.on("error", noop)
      await body(client)
    } catch (error) {
      // The connection is thrown away: what its transaction has become is the database's matter.
      broken = error instanceof Error ? error : new Error(String(error))
      throw postgresError(error)
    } finally {
      client?.off("error", noop)
      client?.release(broken)
    }
  }

  close(): Promise<void> {
    this.#ended ??= this.#pool.end()
    return this.#ended
  }
}

function noop(): void {
  // Errors of a connection in use are reported by its queries.
}

/** The last write of each key, by table: one statement each. */
function byTable(writes: readonly Write[]): Map<Table, Map<string, Uint8Array | undefined>> {
  const all = new Map<Table, Map<string, Uint8Array | undefined>>()
  for (const { table, key, value } of writes) {
    const some = all.get(table) ?? new Map<string, Uint8Array | undefined>()
    some.set(key, value)
    all.set(table, some)
  }
  return all
}

async function write(
  client: pg.PoolClient,
  table: Table,
  writes: ReadonlyMap<string, Uint8Array | undefined>,
): Promise<void> {
  const removed = [...writes].flatMap(([key, value]) => (value === undefined ? [key] : []))
  const put = [...writes].flatMap(([key, value]) => (value === undefined ? [] : [{ key, value }]))
  if (removed.length > 0)
    await client.query(`DELETE FROM coffer_${table} WHERE key = ANY($1::text[])`, [removed])
  if (put.length > 0)
    await client.query(
      `INSERT INTO coffer_${table} (key, value) SELECT * FROM unnest($1::text[], $2::bytea[])
       ON CONFLICT (key) DO UPDATE SET value = excluded.value`,
      [put.map(({ key }) => key), put.map(({ value }) => Buffer.from(value))],
    )
}

function postgresError(error: unknown): unknown {
  if (error instanceof CofferError || !(error instanceof Error)) return error
  const code = "code" in error && typeof error.code === "string" ? error.code : ""
  const absent = ["ECONNREFUSED", "ENOENT", "ENOTFOUND", "EAI_AGAIN"].includes(code)
  return new CofferError(absent ? "missing" : "io", `the CAS database: ${error.message}`, {
    cause: error,
    reason: "database",
    hint: "is PostgreSQL running, and is the address right?",
  })
}
