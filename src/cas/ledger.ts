/** Hot path: every request that changes something. */
import type { KeyObject } from "node:crypto"
import { type AuditPoint, followAudit, genesisHash, logKey } from "./audit.ts"
import { Batch, type Finished, hashAt, type Transaction } from "./batch.ts"
import { allRows, Guard, type Head, headKey, headSchema, type ValueTable } from "./guard.ts"
import { casRollback, type SignedHead, signHead } from "./head.ts"
import type { RowSealer, Rows } from "./rows.ts"
import type { Backend, Reader } from "./store/backend.ts"

export type { Transaction } from "./batch.ts"

const emptyHead: Head = { sequence: 0, hash: genesisHash, time: 0, sum: "0", commit: 0 }

interface Job {
  run(batch: Batch, reader: Reader): Promise<void>
  settle(head: SignedHead): void
  reject(error: unknown): void
}

export interface LedgerOptions {
  readonly backend: Backend
  readonly sealer: RowSealer
  readonly identity: KeyObject
  readonly casKey: string
  /** Milliseconds. */
  now(): number
}

const maxBatch = 512

/**
 * The CAS's state: sealed rows, the audit chain, and the head that binds both. Transactions that arrive together are one
 * commit of the database (group commit), in the order in which they came.
 */
export class Ledger {
  readonly #options: LedgerOptions
  #queue: Job[] = []
  #running = false
  /** The newest head that this process has seen: the database must never be behind it. */
  #seen: AuditPoint = { sequence: 0, hash: genesisHash }
  #lastHead: SignedHead | undefined
  #guard: Guard | undefined

  constructor(options: LedgerOptions) {
    this.#options = options
  }

  /** Resolves when the transaction is durable, with the signed head that covers it. */
  transact<T>(
    work: (transaction: Transaction) => Promise<T>,
  ): Promise<{ readonly value: T; readonly head: SignedHead }> {
    return new Promise((resolve, reject) => {
      let value: { readonly done: T } | undefined
      this.#queue.push({
        run: async (batch, reader) => {
          value = undefined
          const done = await batch.transaction(reader, work)
          value = { done }
        },
        settle: (head) => {
          if (value !== undefined) resolve({ value: value.done, head })
        },
        reject,
      })
      this.#start()
    })
  }

  #start(): void {
    if (this.#running) return
    this.#running = true
    // One turn of the event loop: what arrived with it shares the commit.
    setImmediate(() => {
      void this.#drain()
    })
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const jobs = this.#queue.slice(0, maxBatch)
      this.#queue = this.#queue.slice(maxBatch)
      await this.#commit(jobs)
    }
    this.#running = false
  }

  async #commit(jobs: readonly Job[]): Promise<void> {
    const failed = new Map<Job, unknown>()
    let head: Head = emptyHead
    let end: Finished | undefined
    try {
      await this.#options.backend.commit(async (reader) => {
        failed.clear()
        const before = await this.#readHead(reader)
        await this.#follow(reader, before)
        const batch = new Batch(this.#options, before, this.#guard)
        for (const job of jobs)
          await job.run(batch, reader).catch((error: unknown) => failed.set(job, error))
        end = batch.finish()
        head = end.head
        return end.writes
      })
    } catch (error) {
      // Also those that were refused: they were judged by writes of this batch that are not there.
      for (const job of jobs) job.reject(error)
      return
    }
    this.#seen = head
    const changed = end !== undefined && end.writes.length > 0
    if (end !== undefined && changed) this.#guard?.advance(head, end.changes, end.hashes)
    const signed = this.#sign(head, changed)
    for (const job of jobs)
      if (failed.has(job)) job.reject(failed.get(job))
      else job.settle(signed)
  }

  async #follow(reader: Reader, head: Head): Promise<void> {
    if (this.#guard === undefined || (await this.#guard.follow(reader, head))) return
    this.#guard = await Guard.read(reader, this.#options.sealer, head, () => undefined)
  }

  #sign(head: Head, changed: boolean): SignedHead {
    const { identity, casKey } = this.#options
    const last = this.#lastHead
    if (!changed && last?.sequence === head.sequence) return last
    const signed = signHead(identity, casKey, head, head.time)
    this.#lastHead = signed
    return signed
  }

  async #readHead(reader: Reader): Promise<Head> {
    const head = openHead(this.#options.sealer, await reader.get("meta", headKey))
    const { sequence } = this.#seen
    if (isSeen(this.#seen, head)) return head
    const found = head.sequence < sequence ? undefined : await hashAt(reader, sequence)
    requireGrown(this.#seen, head, found)
    return head
  }

  /** The newest committed head, signed. */
  async head(): Promise<SignedHead> {
    return this.#sign(await this.#readHead(this.#options.backend), false)
  }

  async list(
    table: ValueTable,
    prefix: string,
    after: string,
    limit: number,
  ): Promise<{ key: string; value: unknown }[]> {
    const rows = await this.#options.backend.range(table, prefix, after, limit)
    return rows.map(({ key, value }) => ({
      key,
      value: this.#options.sealer.open(table, key, value),
    }))
  }

  /** Lines of the log from `first` on. */
  async lines(first: number, limit: number): Promise<string[]> {
    const rows = await this.#options.backend.range("log", "", logKey(first - 1), limit)
    return rows.map(({ value }) => Buffer.from(value).toString("utf8"))
  }

  /**
   * Reads everything: the chain from its first entry to the head, and the sum over all rows. Throws `integrity` when the
   * chain is broken, `rollback` when single rows are not those of the head. `onProgress` counts rows.
   */
  async verify(onProgress?: (done: number) => void): Promise<AuditPoint> {
    await this.#options.backend.snapshot(followLog)
    return (await this.#readAll(onProgress)).point
  }

  /** The same, and from now on each row that is read must be the newest commit's, whatever the database says. */
  async guard(onProgress?: (done: number) => void): Promise<AuditPoint> {
    this.#guard = await this.#readAll(onProgress)
    return this.#guard.point
  }

  async #readAll(onProgress: (done: number) => void = () => undefined): Promise<Guard> {
    const { backend, sealer } = this.#options
    return await backend.snapshot(
      async (reader) => await Guard.read(reader, sealer, await this.#readHead(reader), onProgress),
    )
  }

  /** Rows of a table. */
  count(table: ValueTable): Promise<number> {
    return this.#options.backend.count(table)
  }
}

export function openHead(sealer: Rows, sealed: Uint8Array | undefined): Head {
  if (sealed === undefined) return emptyHead
  return headSchema.parse(sealer.open("meta", headKey, sealed))
}

/** True when nothing has happened since, or nothing was seen yet. */
export function isSeen(seen: AuditPoint, head: Head): boolean {
  return seen.sequence === 0 || (head.sequence === seen.sequence && head.hash === seen.hash)
}

/**
 * The disk, or the database's operator, could put an older copy under a running CAS: `found` is the hash of the entry at
 * `seen`, and must be the same.
 */
export function requireGrown(seen: AuditPoint, head: Head, found: string | undefined): void {
  if (found !== seen.hash)
    throw casRollback(
      `entry ${seen.sequence} (${seen.hash.slice(0, 16)}…)`,
      `entry ${head.sequence}`,
    )
}

/** Each entry in full: names the first one that is broken. */
async function followLog(reader: Reader): Promise<void> {
  let point: AuditPoint = { sequence: 0, hash: genesisHash }
  for await (const { value } of allRows(reader, "log"))
    point = followAudit(point, Buffer.from(value).toString("utf8"))
}
