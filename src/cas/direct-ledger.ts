/** Hot path: each fsync of a service under `freshness: strict`. */
import { type AuditPoint, genesisHash, logKey } from "./audit.ts"
import { Batch, type DirectTransaction, hashOf } from "./batch.ts"
import { type Head, headKey } from "./guard.ts"
import { isSeen, openHead, requireGrown } from "./ledger.ts"
import type { RowSealer } from "./rows.ts"
import type { DirectReader } from "./store/backend.ts"
import type { DirectSqlite } from "./store/sqlite-direct.ts"

export interface DirectLedgerOptions {
  readonly store: DirectSqlite
  readonly sealer: RowSealer
  /** Milliseconds. */
  now(): number
}

/** The same state as `Ledger`'s, for one thread that has nothing else to do: no turns of an event loop, no other thread. */
export class DirectLedger {
  readonly #options: DirectLedgerOptions
  /** The newest head that this thread has seen: the database must never be behind it. */
  #seen: AuditPoint = { sequence: 0, hash: genesisHash }

  constructor(options: DirectLedgerOptions) {
    this.#options = options
  }

  /** The transaction is durable when this returns; what it throws undoes it. With the head that covers it. */
  transact<T>(work: (transaction: DirectTransaction) => T): {
    readonly value: T
    readonly head: Head
  } {
    let done: { readonly value: T; readonly head: Head } | undefined
    this.#options.store.commit((reader) => {
      const batch = new Batch(this.#options, this.#readHead(reader), undefined)
      const value = batch.direct(reader, work)
      const { head, writes } = batch.finish()
      done = { value, head }
      return writes
    })
    if (done === undefined) throw new TypeError("a commit that returns has done its work")
    const { sequence, hash } = done.head
    this.#seen = { sequence, hash }
    return done
  }

  #readHead(reader: DirectReader): Head {
    const head = openHead(this.#options.sealer, reader.getNow("meta", headKey))
    if (isSeen(this.#seen, head)) return head
    const { sequence } = this.#seen
    const line = head.sequence < sequence ? undefined : reader.getNow("log", logKey(sequence))
    requireGrown(this.#seen, head, hashOf(line))
    return head
  }
}
