import { closeSync, fsyncSync, mkdirSync, openSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync, type StatementSync } from "node:sqlite"
import { CofferError, fromSystem } from "../../errors.ts"
import {
  type DirectReader,
  type Reader,
  type Row,
  rangeStart,
  type Table,
  tables,
  type Write,
} from "./backend.ts"

interface Statements {
  readonly get: StatementSync
  readonly range: StatementSync
  readonly put: StatementSync
  readonly remove: StatementSync
}

/** One connection to the database, with its statements prepared. */
export class Connection implements Reader, DirectReader {
  readonly database: DatabaseSync
  readonly #statements: ReadonlyMap<Table, Statements>

  /** `timeout`: how long to wait for another connection's commit, milliseconds. */
  constructor(path: string, timeout = 5000) {
    this.database = new DatabaseSync(path, { timeout })
    this.database.exec(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -32768",
    )
    for (const table of tables)
      this.database.exec(
        `CREATE TABLE IF NOT EXISTS ${table} (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID`,
      )
    this.#statements = new Map(tables.map((table) => [table, prepare(this.database, table)]))
  }

  get(table: Table, key: string): Promise<Uint8Array | undefined> {
    return Promise.resolve(this.getNow(table, key))
  }

  getNow(table: Table, key: string): Uint8Array | undefined {
    const row = this.#of(table).get.get(key)
    const value = row?.["value"]
    return value instanceof Uint8Array ? value : undefined
  }

  /** In a transaction. */
  write(writes: readonly Write[]): void {
    for (const { table, key, value } of writes) {
      const { put, remove } = this.#of(table)
      if (value === undefined) remove.run(key)
      else put.run(key, value)
    }
  }

  range(table: Table, prefix: string, after: string, limit: number): Promise<readonly Row[]> {
    const from = rangeStart(prefix, after)
    // Keys are ASCII, so this is above all keys with the prefix.
    const rows = this.#of(table).range.all(from, `${prefix}\u{10ffff}`, limit)
    return Promise.resolve(rows.map(rowOf))
  }

  #of(table: Table): Statements {
    const found = this.#statements.get(table)
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

/** Where the database is to be. */
export function makeDirectory(dir: string): void {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw fromSystem(error, dir)
  }
}

/** The log is there after the first write; its name, and the database's, are made durable here. */
export function openWal(dir: string, writer: Connection, flags = "r"): number {
  writer.database.exec("BEGIN IMMEDIATE; PRAGMA user_version = 1; COMMIT")
  const wal = openSync(join(dir, "cas.db-wal"), flags)
  const folder = openSync(dir, "r")
  fsyncSync(folder)
  closeSync(folder)
  return wal
}

export function sqliteError(error: unknown, what: string): unknown {
  if (!(error instanceof Error) || !("errstr" in error)) return error
  return new CofferError("io", `${what}: ${error.message}`, { cause: error, reason: "database" })
}
