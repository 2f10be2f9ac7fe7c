/** Hot path: every request that changes something. */
import type { JsonValue } from "../bytes/index.ts"
import { type AuditDetail, type AuditKind, auditLine, logKey } from "./audit.ts"
import {
  type Change,
  changesRow,
  type Guard,
  type Head,
  headKey,
  keptCommits,
  type ValueTable,
} from "./guard.ts"
import { addWeight, type Rows, subtractWeight } from "./rows.ts"
import type { DirectReader, Reader, Write } from "./store/backend.ts"

/** One transaction: sees its own writes and everything before it; what it throws undoes it, and it alone. */
export interface Transaction {
  get(table: ValueTable, key: string): Promise<unknown>
  put(table: ValueTable, key: string, value: JsonValue): Promise<void>
  remove(table: ValueTable, key: string): Promise<void>
  /** Keys that begin with `prefix` and come after `after`, in order, as committed before this batch. */
  keys(table: ValueTable, prefix: string, limit: number, after?: string): Promise<readonly string[]>
  log(kind: AuditKind, subject: string, detail: AuditDetail): void
  /** The hash of an entry of the log, undefined when there is none. */
  hashAt(sequence: number): Promise<string | undefined>
  readonly time: number
}

/** The same for a thread that waits for nothing but the disk. */
export type DirectTransaction = Pick<Transaction, "log" | "time"> & {
  get(table: ValueTable, key: string): unknown
  put(table: ValueTable, key: string, value: JsonValue): void
  hashAt(sequence: number): string | undefined
}

export async function hashAt(reader: Reader, sequence: number): Promise<string | undefined> {
  return hashOf(await reader.get("log", logKey(sequence)))
}

export function hashOf(line: Uint8Array | undefined): string | undefined {
  return line === undefined ? undefined : Buffer.from(line.subarray(0, 64)).toString("utf8")
}

interface Pending {
  readonly value: Uint8Array | undefined
}

interface Original extends Pending {
  /** When a guard has looked at the row. */
  readonly known: Change | undefined
}

/** What a batch comes to. */
export interface Finished {
  readonly head: Head
  readonly writes: readonly Write[]
  readonly changes: readonly Change[]
  /** Of its log entries. */
  readonly hashes: readonly Uint8Array[]
}

interface BatchOptions {
  readonly sealer: Rows
  /** Milliseconds. */
  now(): number
}

type LogRecord = readonly [AuditKind, string, AuditDetail]

/** The transactions of one commit: an overlay over the database. */
export class Batch {
  readonly #options: BatchOptions
  readonly #before: Head
  readonly #guard: Guard | undefined
  readonly #originals = new Map<string, Original>()
  readonly #overlay = new Map<string, Pending>()
  readonly #log: LogRecord[] = []
  readonly #time: number

  constructor(options: BatchOptions, before: Head, guard: Guard | undefined) {
    this.#options = options
    this.#before = before
    this.#guard = guard
    this.#time = Math.max(options.now(), before.time)
  }

  async transaction<T>(reader: Reader, work: (transaction: Transaction) => Promise<T>): Promise<T> {
    const { sealer } = this.#options
    const own = new Map<string, Pending>()
    const log: LogRecord[] = []
    const sealed = async (table: ValueTable, key: string) =>
      (own.get(`${table}\0${key}`) ?? (await this.#sealed(reader, table, key))).value
    const value = await work({
      time: this.#time,
      get: async (table, key) => {
        const found = await sealed(table, key)
        return found === undefined ? undefined : sealer.open(table, key, found)
      },
      put: async (table, key, row) => {
        await this.#sealed(reader, table, key)
        own.set(`${table}\0${key}`, { value: sealer.seal(table, key, row) })
      },
      remove: async (table, key) => {
        await this.#sealed(reader, table, key)
        own.set(`${table}\0${key}`, { value: undefined })
      },
      keys: async (table, prefix, limit, after = "") =>
        (await reader.range(table, prefix, after, limit)).map(({ key }) => key),
      log: (kind, subject, detail) => log.push([kind, subject, detail]),
      hashAt: async (sequence) => this.#known(sequence, await hashAt(reader, sequence)),
    })
    this.#take(own, log)
    return value
  }

  /** The same, with a reader that does not wait. */
  direct<T>(reader: DirectReader, work: (transaction: DirectTransaction) => T): T {
    const { sealer } = this.#options
    const own = new Map<string, Pending>()
    const log: LogRecord[] = []
    const sealed = (table: ValueTable, key: string): Pending => {
      const place = `${table}\0${key}`
      return (
        own.get(place) ??
        this.#overlay.get(place) ??
        this.#originals.get(place) ??
        this.#keep(place, table, key, reader.getNow(table, key))
      )
    }
    const value = work({
      time: this.#time,
      get: (table, key) => {
        const { value: found } = sealed(table, key)
        return found === undefined ? undefined : sealer.open(table, key, found)
      },
      put: (table, key, row) => {
        sealed(table, key)
        own.set(`${table}\0${key}`, { value: sealer.seal(table, key, row) })
      },
      log: (kind, subject, detail) => log.push([kind, subject, detail]),
      hashAt: (sequence) => this.#known(sequence, hashOf(reader.getNow("log", logKey(sequence)))),
    })
    this.#take(own, log)
    return value
  }

  #take(own: ReadonlyMap<string, Pending>, log: readonly LogRecord[]): void {
    for (const [place, pending] of own) this.#overlay.set(place, pending)
    this.#log.push(...log)
  }

  async #sealed(reader: Reader, table: ValueTable, key: string): Promise<Pending> {
    const place = `${table}\0${key}`
    return (
      this.#overlay.get(place) ??
      this.#originals.get(place) ??
      this.#keep(place, table, key, await reader.get(table, key))
    )
  }

  #keep(place: string, table: ValueTable, key: string, value: Uint8Array | undefined): Original {
    const found = { value, known: this.#guard?.require(table, key, value) }
    this.#originals.set(place, found)
    return found
  }

  /** Not what stands after the head: the database's operator could have put it there. */
  #known(sequence: number, hash: string | undefined): string | undefined {
    if (sequence > this.#before.sequence) return undefined
    if (hash !== undefined) this.#guard?.requireEntry(sequence, hash)
    return hash
  }

  finish(): Finished {
    if (this.#overlay.size === 0 && this.#log.length === 0)
      return { head: this.#before, writes: [], changes: [], hashes: [] }
    const { sealer } = this.#options
    const writes: Write[] = []
    const changes: Change[] = []
    const hashes: Uint8Array[] = []
    let sum = BigInt(`0x${this.#before.sum}`)
    for (const [place, { value }] of this.#overlay) {
      const [table, key] = split(place)
      const before = this.#originals.get(place)
      const known = before?.known
      sum = subtractWeight(sum, known?.weight ?? sealer.weight(table, key, before?.value))
      const weight = sealer.weight(table, key, value)
      sum = addWeight(sum, weight)
      writes.push({ table, key, value })
      changes.push({ place: known?.place ?? sealer.place(table, key), weight })
    }
    let { sequence, hash } = this.#before
    for (const [kind, subject, detail] of this.#log) {
      sequence += 1
      const entry = auditLine(hash, { sequence, time: this.#time, kind, subject, detail })
      hash = entry.hash
      hashes.push(Buffer.from(hash, "hex"))
      writes.push({ table: "log", key: logKey(sequence), value: entry.line })
    }
    const commit = this.#before.commit + 1
    const head = { sequence, hash, time: this.#time, sum: sum.toString(16), commit }
    writes.push(
      { table: "meta", key: headKey, value: sealer.seal("meta", headKey, head) },
      { table: "changes", key: logKey(commit), value: changesRow(sealer, commit, changes) },
    )
    if (commit > keptCommits)
      writes.push({ table: "changes", key: logKey(commit - keptCommits), value: undefined })
    return { head, writes, changes, hashes }
  }
}

function split(place: string): [ValueTable, string] {
  const at = place.indexOf("\0")
  return [place.slice(0, at) as ValueTable, place.slice(at + 1)]
}
