/** Hot path: each fsync of a service under `freshness: strict`. */
import { equalBytes } from "../bytes/index.ts"
import { type AuditPoint, genesisHash, logKey } from "./audit.ts"
import { Batch, type DirectTransaction, hashOf } from "./batch.ts"
import { type Head, headKey } from "./guard.ts"
import { isSeen, openHead, requireGrown } from "./ledger.ts"
import type { RowMemory } from "./row-memory.ts"
import type { DirectReader, Table, Write } from "./store/backend.ts"
import type { DirectSqlite } from "./store/sqlite-direct.ts"

export interface DirectLedgerOptions {
  readonly store: DirectSqlite
  readonly sealer: RowMemory
  /** Milliseconds. */
  now(): number
}

type Work<T> = (transaction: DirectTransaction) => T

export interface Done<T> {
  readonly value: T
  /** The head that covers it. */
  readonly head: Head
}

/** A transaction that was worked out on what this thread remembers. It holds when the database still has just that. */
export interface Prepared<T> {
  readonly done: Done<T>
  readonly reads: readonly {
    readonly table: Table
    readonly key: string
    readonly sealed: Uint8Array
  }[]
  readonly writes: readonly Write[]
}

/** The same state as `Ledger`'s, for one thread that has nothing else to do: no turns of an event loop, no other thread. */
export class DirectLedger {
  readonly #options: DirectLedgerOptions
  /** The newest head that this thread has seen: the database must never be behind it. */
  #seen: AuditPoint = { sequence: 0, hash: genesisHash }
  /** The head that this thread has written or read last. */
  #last: Head | undefined

  constructor(options: DirectLedgerOptions) {
    this.#options = options
  }

  /**
   * The transaction is durable when this returns; what it throws undoes it. `prepared` is taken in place of `work` where it
   * holds. `meanwhile` runs while the disk works: what it makes must not be used when this throws.
   */
  transact<T>(
    work: Work<T>,
    prepared?: Prepared<T>,
    meanwhile: (done: Done<T>) => void = () => undefined,
  ): Done<T> {
    let done: Done<T> | undefined
    this.#options.store.commit(
      (reader) => {
        const ready = prepared !== undefined && holds(reader, prepared)
        const made = ready ? prepared : this.#work(reader, work)
        done = made.done
        return made.writes
      },
      () => {
        if (done !== undefined) meanwhile(done)
      },
    )
    if (done === undefined) throw new TypeError("a commit that returns has done its work")
    const { sequence, hash } = done.head
    this.#seen = { sequence, hash }
    this.#last = done.head
    return done
  }

  /**
   * All of a transaction but the database: neither is it locked meanwhile, nor is anything there afterwards. Throws what
   * `work` throws, and a `TypeError` when too little is remembered.
   */
  prepare<T>(work: Work<T>): Prepared<T> {
    const reads: { table: Table; key: string; sealed: Uint8Array }[] = []
    const getNow = (table: Table, key: string) => {
      const sealed = this.#options.sealer.last(table, key)
      if (sealed === undefined) throw new TypeError(`${table} ${key} was not read yet`)
      reads.push({ table, key, sealed })
      return sealed
    }
    return { ...this.#work({ getNow }, work), reads }
  }

  #work<T>(reader: DirectReader, work: Work<T>): Omit<Prepared<T>, "reads"> {
    const batch = new Batch(this.#options, this.#readHead(reader), undefined)
    const value = batch.direct(reader, work)
    const { head, writes } = batch.finish()
    return { done: { value, head }, writes }
  }

  #readHead(reader: DirectReader): Head {
    const head = this.#open(reader.getNow("meta", headKey))
    if (isSeen(this.#seen, head)) return head
    const { sequence } = this.#seen
    const line = head.sequence < sequence ? undefined : reader.getNow("log", logKey(sequence))
    requireGrown(this.#seen, head, hashOf(line))
    return head
  }

  /** What we have put ourselves is known to be a head. */
  #open(sealed: Uint8Array | undefined): Head {
    const { sealer } = this.#options
    const last = this.#last
    if (sealed !== undefined && last !== undefined && sealer.open("meta", headKey, sealed) === last)
      return last
    return openHead(sealer, sealed)
  }
}

function holds(reader: DirectReader, { reads }: Prepared<unknown>): boolean {
  return reads.every(({ table, key, sealed }) => {
    const found = reader.getNow(table, key)
    return found !== undefined && equalBytes(found, sealed)
  })
}
