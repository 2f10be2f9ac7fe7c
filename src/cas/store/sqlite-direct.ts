/** Hot path: each fsync of a service under `freshness: strict`. */
import { closeSync, fdatasyncSync, fstatSync, writeSync } from "node:fs"
import { join } from "node:path"
import type { StatementSync } from "node:sqlite"
import { CofferError, fromSystem } from "../../errors.ts"
import { writeSoon } from "../../sys/index.ts"
import type { DirectReader, Table, Write } from "./backend.ts"
import { Connection, openWal, sqliteError } from "./sqlite-connection.ts"

const lockWaitMs = 15_000
/** After so many commits more are to be expected. */
const manyCommits = 16
/** SQLite begins its log again after 1000 pages of 4 KiB, each with a header of 24 bytes; some more for the last commit. */
const fullLog = 1100 * (4096 + 24)
const zeros = new Uint8Array(1 << 20)

/**
 * The database of `openSqlite` for one thread that has nothing else to do: all verbs return when they are done. Other
 * connections, here or in other processes, take turns with it. The database must be there.
 */
export class DirectSqlite implements DirectReader {
  readonly #connection: Connection
  readonly #begin: StatementSync
  readonly #commit: StatementSync
  readonly #wal: number
  #commits = 0
  #broken = false
  #closed = false

  constructor(dir: string) {
    const path = join(dir, "cas.db")
    try {
      this.#connection = new Connection(path, lockWaitMs)
      const { database } = this.#connection
      this.#wal = openWal(dir, this.#connection, "r+")
      this.#begin = database.prepare("BEGIN IMMEDIATE")
      this.#commit = database.prepare("COMMIT")
    } catch (error) {
      throw sqliteError(error, path)
    }
  }

  getNow(table: Table, key: string): Uint8Array | undefined {
    return this.#connection.getNow(table, key)
  }

  /**
   * As `Backend.commit`: alone, all or nothing, durable when it returns, also what `work` only read. `meanwhile` runs while
   * the disk works.
   */
  commit(work: (reader: DirectReader) => readonly Write[], meanwhile: () => void): void {
    const { database } = this.#connection
    if (this.#broken)
      throw new CofferError("io", "the CAS database: a sync has failed, found no way to go on", {
        reason: "database",
        hint: "look at the disk, then start the service again",
      })
    try {
      this.#begin.run()
      this.#connection.write(work(this))
      this.#lengthen()
      this.#commit.run()
    } catch (error) {
      if (database.isTransaction) database.exec("ROLLBACK")
      throw error instanceof CofferError ? error : sqliteError(error, "the CAS database")
    }
    writeSoon(this.#wal, 0, 0)
    try {
      meanwhile()
    } finally {
      this.#sync()
    }
  }

  /**
   * A log that grows with each commit costs the disk's journal as much again as the data: so zeros are written ahead
   * once, and commits overwrite. Zeros are no frame of the log, and in a transaction nobody else appends.
   */
  #lengthen(): void {
    this.#commits += 1
    if (this.#commits !== manyCommits) return
    try {
      let { size } = fstatSync(this.#wal)
      while (size < fullLog)
        size += writeSync(this.#wal, zeros, 0, Math.min(zeros.length, fullLog - size), size)
    } catch {
      // A full disk: the commit itself may still fit.
    }
  }

  /** After a failed sync nobody knows what is on the disk, and a second one would say "good": nothing is taken any more. */
  #sync(): void {
    try {
      fdatasyncSync(this.#wal)
    } catch (error) {
      this.#broken = true
      throw fromSystem(error, "syncing the CAS database")
    }
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    closeSync(this.#wal)
    this.#connection.database.close()
  }
}
