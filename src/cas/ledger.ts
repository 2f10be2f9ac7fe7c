/** Hot path: every request that changes something. */
import type { KeyObject } from "node:crypto"
import { z } from "zod"
import type { JsonValue } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import {
  type AuditDetail,
  type AuditKind,
  type AuditPoint,
  auditLine,
  followAudit,
  genesisHash,
  logKey,
} from "./audit.ts"
import { casRollback, type SignedHead, signHead } from "./head.ts"
import { addWeight, type RowSealer, subtractWeight } from "./rows.ts"
import { type Backend, type Reader, type Table, tables, type Write } from "./store/backend.ts"

const headSchema = z.strictObject({
  sequence: z.int(),
  hash: z.string(),
  time: z.int(),
  sum: z.string(),
})
type Head = z.infer<typeof headSchema>

const emptyHead: Head = { sequence: 0, hash: genesisHash, time: 0, sum: "0" }
const headKey = "head"

/** Tables whose rows are sealed values; the log is a chain of its own. The head row binds both. */
type ValueTable = Exclude<Table, "log">

/** One transaction: sees its own writes and everything before it; what it throws undoes it, and it alone. */
export interface Transaction {
  get(table: ValueTable, key: string): Promise<unknown>
  put(table: ValueTable, key: string, value: JsonValue): Promise<void>
  remove(table: ValueTable, key: string): Promise<void>
  /** Keys that begin with `prefix`, in order, as committed before this batch. */
  keys(table: ValueTable, prefix: string, limit: number): Promise<readonly string[]>
  log(kind: AuditKind, subject: string, detail: AuditDetail): void
  /** The hash of an entry of the log, undefined when there is none. */
  hashAt(sequence: number): Promise<string | undefined>
  readonly time: number
}

interface Job {
  run(batch: Batch): Promise<void>
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
        run: async (batch) => {
          value = undefined
          const done = await batch.transaction(work)
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
    let changed = false
    try {
      await this.#options.backend.commit(async (reader) => {
        failed.clear()
        const batch = new Batch(this.#options, reader, await this.#readHead(reader))
        for (const job of jobs)
          await job.run(batch).catch((error: unknown) => failed.set(job, error))
        const end = batch.finish()
        head = end.head
        changed = end.writes.length > 0
        return end.writes
      })
    } catch (error) {
      // Also those that were refused: they were judged by writes of this batch that are not there.
      for (const job of jobs) job.reject(error)
      return
    }
    this.#seen = head
    const signed = this.#sign(head, changed)
    for (const job of jobs)
      if (failed.has(job)) job.reject(failed.get(job))
      else job.settle(signed)
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
    const sealed = await reader.get("meta", headKey)
    const head =
      sealed === undefined
        ? emptyHead
        : headSchema.parse(this.#options.sealer.open("meta", headKey, sealed))
    // The disk, or the database's operator, could put an older copy under a running CAS.
    if (head.sequence === this.#seen.sequence && head.hash === this.#seen.hash) return head
    const { sequence, hash } = this.#seen
    if (sequence === 0) return head
    const found = head.sequence < sequence ? undefined : await hashAt(reader, sequence)
    if (found !== hash)
      throw casRollback(`entry ${sequence} (${hash.slice(0, 16)}…)`, `entry ${head.sequence}`)
    return head
  }

  /** The newest committed head, signed. */
  async head(): Promise<SignedHead> {
    return this.#sign(await this.#readHead(this.#options.backend), false)
  }

  /** A committed row outside of any transaction. */
  async read(table: ValueTable, key: string): Promise<unknown> {
    const sealed = await this.#options.backend.get(table, key)
    return sealed === undefined ? undefined : this.#options.sealer.open(table, key, sealed)
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
  async verify(onProgress: (done: number) => void = () => undefined): Promise<AuditPoint> {
    const { backend } = this.#options
    const head = await this.#readHead(backend)
    let point: AuditPoint = { sequence: 0, hash: genesisHash }
    let done = 0
    for await (const row of allRows(backend, "log")) {
      if (point.sequence === head.sequence) break // written while we read
      point = followAudit(point, Buffer.from(row.value).toString("utf8"))
      done += 1
      if (done % 1000 === 0) onProgress(done)
    }
    if (point.sequence !== head.sequence || point.hash !== head.hash)
      throw new CofferError(
        "integrity",
        `audit log: wanted it to end at entry ${head.sequence} (${head.hash}), found its end at ${point.sequence} (${point.hash})`,
        { reason: "audit-chain" },
      )
    const sum = await this.#sum((rows) => onProgress(done + rows))
    if (sum.toString(16) !== head.sum && (await this.#readHead(backend)).sum === head.sum)
      throw new CofferError(
        "rollback",
        "CAS database: wanted the rows that the head binds, found older, missing or foreign ones",
        {
          reason: "state-sum",
          hint: "somebody changed single rows of the database: restore it from a backup",
        },
      )
    return point
  }

  async #sum(onProgress: (done: number) => void): Promise<bigint> {
    const { backend, sealer } = this.#options
    let sum = 0n
    let done = 0
    for (const table of tables.filter((name) => name !== "log"))
      for await (const { key, value } of allRows(backend, table)) {
        // The identity is there before the first head and never changes.
        const apart = table === "meta" && (key === headKey || key === "identity")
        if (!apart) sum = addWeight(sum, sealer.weight(table, key, value))
        done += 1
        if (done % 1000 === 0) onProgress(done)
      }
    return sum
  }
}

async function* allRows(backend: Backend, table: Table) {
  let after = ""
  for (;;) {
    const rows = await backend.range(table, "", after, 1000)
    yield* rows
    const last = rows.at(-1)
    if (last === undefined) return
    after = last.key
  }
}

async function hashAt(reader: Reader, sequence: number): Promise<string | undefined> {
  const line = await reader.get("log", logKey(sequence))
  return line === undefined ? undefined : Buffer.from(line.subarray(0, 64)).toString("utf8")
}

interface Pending {
  readonly value: Uint8Array | undefined
}

type LogRecord = readonly [AuditKind, string, AuditDetail]

/** The transactions of one commit: an overlay over the database. */
class Batch {
  readonly #options: LedgerOptions
  readonly #reader: Reader
  readonly #before: Head
  readonly #originals = new Map<string, Uint8Array | undefined>()
  readonly #overlay = new Map<string, Pending>()
  readonly #log: LogRecord[] = []
  readonly #time: number

  constructor(options: LedgerOptions, reader: Reader, before: Head) {
    this.#options = options
    this.#reader = reader
    this.#before = before
    this.#time = Math.max(options.now(), before.time)
  }

  async transaction<T>(work: (transaction: Transaction) => Promise<T>): Promise<T> {
    const { sealer } = this.#options
    const own = new Map<string, Pending>()
    const log: LogRecord[] = []
    const sealed = async (table: ValueTable, key: string) =>
      (own.get(`${table}\0${key}`) ?? (await this.#sealed(table, key))).value
    const value = await work({
      time: this.#time,
      get: async (table, key) => {
        const found = await sealed(table, key)
        return found === undefined ? undefined : sealer.open(table, key, found)
      },
      put: async (table, key, row) => {
        await this.#sealed(table, key)
        own.set(`${table}\0${key}`, { value: sealer.seal(table, key, row) })
      },
      remove: async (table, key) => {
        await this.#sealed(table, key)
        own.set(`${table}\0${key}`, { value: undefined })
      },
      keys: async (table, prefix, limit) =>
        (await this.#reader.range(table, prefix, "", limit)).map(({ key }) => key),
      log: (kind, subject, detail) => log.push([kind, subject, detail]),
      hashAt: (sequence) => hashAt(this.#reader, sequence),
    })
    for (const [place, pending] of own) this.#overlay.set(place, pending)
    this.#log.push(...log)
    return value
  }

  async #sealed(table: ValueTable, key: string): Promise<Pending> {
    const place = `${table}\0${key}`
    const pending = this.#overlay.get(place)
    if (pending !== undefined) return pending
    if (!this.#originals.has(place)) this.#originals.set(place, await this.#reader.get(table, key))
    return { value: this.#originals.get(place) }
  }

  finish(): { readonly head: Head; readonly writes: readonly Write[] } {
    if (this.#overlay.size === 0 && this.#log.length === 0)
      return { head: this.#before, writes: [] }
    const { sealer } = this.#options
    const writes: Write[] = []
    let sum = BigInt(`0x${this.#before.sum}`)
    for (const [place, { value }] of this.#overlay) {
      const [table, key] = split(place)
      sum = subtractWeight(sum, sealer.weight(table, key, this.#originals.get(place)))
      sum = addWeight(sum, sealer.weight(table, key, value))
      writes.push({ table, key, value })
    }
    let { sequence, hash } = this.#before
    for (const [kind, subject, detail] of this.#log) {
      sequence += 1
      const entry = auditLine(hash, { sequence, time: this.#time, kind, subject, detail })
      hash = entry.hash
      writes.push({ table: "log", key: logKey(sequence), value: Buffer.from(entry.line, "utf8") })
    }
    const head = { sequence, hash, time: this.#time, sum: sum.toString(16) }
    writes.push({ table: "meta", key: headKey, value: sealer.seal("meta", headKey, head) })
    return { head, writes }
  }
}

function split(place: string): [ValueTable, string] {
  const at = place.indexOf("\0")
  return [place.slice(0, at) as ValueTable, place.slice(at + 1)]
}
