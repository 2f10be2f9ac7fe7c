import { closeSync, fdatasync, fsyncSync, mkdirSync, openSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync, type StatementSync } from "node:sqlite"
import { promisify } from "node:util"
import { CofferError, fromSystem } from "../../errors.ts"
import {
  type Backend,
  type Reader,
  type Row,
  rangeStart,
  type Table,
  tables,
  type Write,
} from "./backend.ts"

const sync = promisify(fdatasync)

/**
 * SQLite in WAL mode: `DIR/cas.db`. Several processes may have it open; commits take turns. A commit is written by SQLite
 * and then synced by us, off this thread (SQLite's own sync would stop the event loop, a third of the CAS's time): it is
 * acknowledged after that, and the write-ahead log holds every commit before it too.
 */
export function openSqlite(dir: string): Backend {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw fromSystem(error, dir)
  }
  return new SqliteBackend(dir)
}

interface Statements {
  readonly get: StatementSync
  readonly range: StatementSync
  readonly put: StatementSync
  readonly remove: StatementSync
}

class Connection implements Reader {
  readonly database: DatabaseSync
  readonly statements: ReadonlyMap<Table, Statements>

  constructor(path: string) {
    this.database = new DatabaseSync(path, { timeout: 5000 })
    this.database.exec(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -32768",
    )
    for (const table of tables)
      this.database.exec(
        `CREATE TABLE IF NOT EXISTS ${table} (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID`,
      )
    this.statements = new Map(tables.map((table) => [table, prepare(this.database, table)]))
  }

  get(table: Table, key: string): Promise<Uint8Array | undefined> {
    const row = this.of(table).get.get(key)
    const value = row?.["value"]
    return Promise.resolve(value instanceof Uint8Array ? value : undefined)
  }

  range(table: Table, prefix: string, after: string, limit: number): Promise<readonly Row[]> {
    const from = rangeStart(prefix, after)
    // Keys are ASCII, so this is above all keys with the prefix.
    const rows = this.of(table).range.all(from, `${prefix}\u{10ffff}`, limit)
    return Promise.resolve(rows.map(rowOf))
  }

  of(table: Table): Statements {
    const found = this.statements.get(table)
    if (found === undefined) throw new TypeError(`no table ${table}`)
    return found
  }
}

function rowOf(row: Record<string, unknown>): Row {
  const { key, value } = row
  return { key: String(key), value: value instanceof Uint8Array ? value : new Uint8Array() }
}

function prepare(database: DatabaseSync, table: Table): Statements {
  return {
    get: database.prepare(`SELECT value FROM ${table} WHERE key = ?`),
    range: database.prepare(
      `SELECT key, value FROM ${table} WHERE key > ? AND key < ? ORDER BY key LIMIT ?`,
    ),
    put: database.prepare(
      `INSERT INTO ${table} (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value`,
    ),
    remove: database.prepare(`DELETE FROM ${table} WHERE key = ?`),
  }
}

/** The log is there after the first write; its name, and the database's, are made durable here. */
function openWal(dir: string, writer: Connection): number {
  writer.database.exec("BEGIN IMMEDIATE; PRAGMA user_version = 1; COMMIT")
  const wal = openSync(join(dir, "cas.db-wal"), "r")
  const folder = openSync(dir, "r")
  fsyncSync(folder)
  closeSync(folder)
  return wal
}

class SqliteBackend implements Backend {
  readonly #path: string
  readonly #writer: Connection
  /** Reads outside of a commit see the last commit, never a half-done one. */
  readonly #reader: Connection
  /** The write-ahead log. SQLite keeps it for as long as a connection is open. */
  readonly #wal: number
  #tail: Promise<unknown> = Promise.resolve()
  #closed = false
  #broken = false

  constructor(dir: string) {
    const path = join(dir, "cas.db")
    this.#path = path
    try {
      this.#writer = new Connection(path)
      this.#reader = new Connection(path)
      this.#wal = openWal(dir, this.#writer)
    } catch (error) {
      throw sqliteError(error, path)
    }
  }

  // What is read outside of a commit is durable: it waits for the one that is under way.
  async get(table: Table, key: string): Promise<Uint8Array | undefined> {
    await this.#tail
    return await this.#reader.get(table, key)
  }

  async range(table: Table, prefix: string, after: string, limit: number): Promise<readonly Row[]> {
    await this.#tail
    return await this.#reader.range(table, prefix, after, limit)
  }

  async snapshot<T>(work: (reader: Reader) => Promise<T>): Promise<T> {
    const own = new Connection(this.#path)
    try {
      own.database.exec("BEGIN")
      return await work(own)
    } finally {
      own.database.close()
    }
  }

  async count(table: Table): Promise<number> {
    await this.#tail
    const row = this.#reader.database.prepare(`SELECT count(*) AS n FROM ${table}`).get()
    return Number(row?.["n"])
  }

  commit(work: (reader: Reader) => Promise<readonly Write[]>): Promise<void> {
    const turn = this.#tail.then(() => this.#commit(work))
    this.#tail = turn.catch(() => undefined)
    return turn
  }

  async #commit(work: (reader: Reader) => Promise<readonly Write[]>): Promise<void> {
    const { database } = this.#writer
    if (this.#broken)
      throw new CofferError("io", "the CAS database: a sync has failed, found no way to go on", {
        reason: "database",
        hint: "look at the disk, then restart the CAS",
      })
    await this.#begin()
    try {
      for (const { table, key, value } of await work(this.#writer)) {
        const { put, remove } = this.#writer.of(table)
        if (value === undefined) remove.run(key)
        else put.run(key, value)
      }
      this.#run("COMMIT")
      await this.#sync()
    } catch (error) {
      if (database.isTransaction) database.exec("ROLLBACK")
      throw error instanceof CofferError ? error : sqliteError(error, "the CAS database")
    }
  }

  /** After a failed sync nobody knows what is on the disk, and a second one would say "good": nothing is taken any more. */
  async #sync(): Promise<void> {
    try {
      await sync(this.#wal)
    } catch (error) {
      this.#broken = true
      throw fromSystem(error, "syncing the CAS database")
    }
  }

  /** Waits for its turn without stopping the event loop: the one who has the lock may be in this very process. */
  async #begin(): Promise<void> {
    const { database } = this.#writer
    const deadline = performance.now() + lockWaitMs
    database.exec("PRAGMA busy_timeout = 0")
    for (;;) {
      try {
        database.exec("BEGIN IMMEDIATE")
        break
      } catch (error) {
        if (!isBusy(error) || performance.now() > deadline)
          throw sqliteError(error, "the CAS database")
        await new Promise((resolve) => setTimeout(resolve, 1 + Math.random() * 4))
      }
    }
    database.exec("PRAGMA busy_timeout = 5000")
  }

  #run(statement: string): void {
    try {
      this.#writer.database.exec(statement)
    } catch (error) {
      throw sqliteError(error, "the CAS database")
    }
  }

  async close(): Promise<void> {
    await this.#tail
    if (this.#closed) return
    this.#closed = true
    closeSync(this.#wal)
    this.#reader.database.close()
    this.#writer.database.close()
  }
}

const lockWaitMs = 15_000
const sqliteBusy = 5

function isBusy(error: unknown): boolean {
  return (
    error instanceof Error && "errcode" in error && (Number(error.errcode) & 0xff) === sqliteBusy
  )
}

function sqliteError(error: unknown, what: string): unknown {
  if (!(error instanceof Error) || !("errstr" in error)) return error
  return new CofferError("io", `${what}: ${error.message}`, { cause: error, reason: "database" })
}
