import { closeSync, fdatasync } from "node:fs"
import { join } from "node:path"
import { promisify } from "node:util"
import { CofferError, fromSystem } from "../../errors.ts"
import type { Backend, Reader, Row, Table, Write } from "./backend.ts"
import { Connection, makeDirectory, openWal, sqliteError } from "./sqlite-connection.ts"

const sync = promisify(fdatasync)

/**
 * SQLite in WAL mode: `DIR/cas.db`. Several processes may have it open; commits take turns. A commit is written by SQLite
 * and then synced by us, off this thread (SQLite's own sync would stop the event loop, a third of the CAS's time): it is
 * acknowledged after that, and the write-ahead log holds every commit before it too.
 */
export function openSqlite(dir: string): Backend {
  makeDirectory(dir)
  return new SqliteBackend(dir)
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
      this.#writer.write(await work(this.#writer))
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
