/** Hot path: every row that is read. */
import { z } from "zod"
import { fromHex, toHex } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { type AuditPoint, followChain, genesisHash, logKey } from "./audit.ts"
import { Fingerprints, HashPrefixes } from "./fingerprints.ts"
import { casRollback } from "./head.ts"
import { addWeight, type RowSealer, type Rows } from "./rows.ts"
import { type Reader, type Table, tables } from "./store/backend.ts"

/** The sealed row that binds everything: spec/audit-log.md. */
export const headSchema = z.strictObject({
  sequence: z.int(),
  hash: z.string(),
  time: z.int(),
  sum: z.string(),
  /** Commits of the database so far. */
  commit: z.int().default(0),
})
export type Head = z.infer<typeof headSchema>

export const headKey = "head"
/** Commits whose changes are kept for other processes; who is further behind reads everything again. */
export const keptCommits = 10_000

export type ValueTable = Exclude<Table, "log" | "changes">

/** A row that a commit changed. `weight`: of the new row, 0n when it was removed. */
export interface Change {
  readonly place: bigint
  readonly weight: bigint
}

/** For each row place and weight, 16 hex digits each. */
const changesSchema = z.strictObject({ rows: z.string().regex(/^(?:[0-9a-f]{32})*$/) })

/**
 * What the database must say, in memory: 64 bits of the MAC of every row and of the hash of every log entry. The
 * database is not trusted, also while we run: a row that its operator puts back, or a log entry that he forges, does not
 * fit and is `rollback` at the read. Other processes' commits are followed by the sealed list of what each changed.
 */
export class Guard {
  readonly #sealer: RowSealer
  readonly #rows = new Fingerprints()
  readonly #hashes = new HashPrefixes()
  #point: AuditPoint = { sequence: 0, hash: genesisHash }
  #commit = 0

  private constructor(sealer: RowSealer) {
    this.#sealer = sealer
  }

  /**
   * Reads everything that `reader`, a snapshot, has: the rows must add up to the sum in `head` (else `rollback`), and the
   * log must be a chain that ends there (else `integrity`). `onProgress` counts rows.
   */
  static async read(
    reader: Reader,
    sealer: RowSealer,
    head: Head,
    onProgress: (done: number) => void,
  ): Promise<Guard> {
    const guard = new Guard(sealer)
    const rows = await guard.#readRows(reader, head, onProgress)
    await guard.#followLog(reader, head, (done) => onProgress(rows + done))
    guard.#commit = head.commit
    return guard
  }

  get point(): AuditPoint {
    return this.#point
  }

  async #readRows(reader: Reader, head: Head, onProgress: (done: number) => void): Promise<number> {
    let sum = 0n
    let done = 0
    for (const table of tables) {
      if (table === "log" || table === "changes") continue
      for await (const { key, value } of allRows(reader, table)) {
        done += 1
        if (done % 1000 === 0) onProgress(done)
        if (isApart(table, key)) continue
        const weight = this.#sealer.weight(table, key, value)
        sum = addWeight(sum, weight)
        this.#rows.set(this.#sealer.place(table, key), low(weight))
      }
    }
    if (sum.toString(16) === head.sum) return done
    throw new CofferError(
      "rollback",
      "CAS database: wanted the rows that the head binds, found older, missing or foreign ones",
      {
        reason: "state-sum",
        hint: "somebody changed single rows of the database: restore it from a backup",
      },
    )
  }

  async #followLog(
    reader: Reader,
    head: Head,
    onProgress: (done: number) => void = () => undefined,
  ): Promise<void> {
    const from = this.#point.sequence
    let last: Uint8Array = fromHex(this.#point.hash) ?? new Uint8Array()
    for await (const { value } of allRows(reader, "log", logKey(from))) {
      last = followChain(last, value)
      this.#hashes.push(last)
      if (this.#hashes.count % 1000 === 0) onProgress(this.#hashes.count)
    }
    const point = { sequence: this.#hashes.count, hash: toHex(last) }
    if (point.sequence !== head.sequence || point.hash !== head.hash) {
      this.#hashes.cut(from)
      throw new CofferError(
        "integrity",
        `audit log: wanted it to end at entry ${head.sequence} (${head.hash}), found its end at ${point.sequence} (${point.hash})`,
        { reason: "audit-chain", hint: "coffer cas audit verify says which entry is broken" },
      )
    }
    this.#point = point
  }

  /** What other processes have committed since. False: too much, everything must be read again. */
  async follow(reader: Reader, head: Head): Promise<boolean> {
    if (head.commit === this.#commit && head.hash === this.#point.hash) return true
    if (head.commit <= this.#commit || head.sequence < this.#point.sequence)
      throw casRollback(
        `commit ${this.#commit}, entry ${this.#point.sequence}`,
        `commit ${head.commit}, entry ${head.sequence}`,
      )
    if (head.commit - this.#commit > keptCommits) return false
    const changes: [bigint, bigint][] = []
    for (let commit = this.#commit + 1; commit <= head.commit; commit += 1) {
      const sealed = await reader.get("changes", logKey(commit))
      if (sealed === undefined) return false
      const { rows } = changesSchema.parse(this.#sealer.open("changes", logKey(commit), sealed))
      for (let at = 0; at < rows.length; at += 32)
        changes.push([numberAt(rows, at), numberAt(rows, at + 16)])
    }
    await this.#followLog(reader, head)
    for (const [place, value] of changes) this.#rows.set(place, value)
    this.#commit = head.commit
    return true
  }

  /** After our own commit. */
  advance(head: Head, changes: readonly Change[], hashes: readonly Uint8Array[]): void {
    for (const { place, weight } of changes) this.#rows.set(place, low(weight))
    for (const hash of hashes) this.#hashes.push(hash)
    this.#point = { sequence: head.sequence, hash: head.hash }
    this.#commit = head.commit
  }

  /** Place and weight of a row as read; throws `rollback` when it is not the one of the newest commit. */
  require(table: ValueTable, key: string, sealed: Uint8Array | undefined): Change {
    const weight = this.#sealer.weight(table, key, sealed)
    const place = this.#sealer.place(table, key)
    if (this.#rows.get(place) === low(weight)) return { place, weight }
    throw new CofferError(
      "rollback",
      `CAS database: ${table} ${key}: wanted the row of the newest commit, found ${sealed === undefined ? "none" : "another"}`,
      {
        reason: "row-older",
        hint: "somebody changed the database under the CAS: restore it from a backup",
      },
    )
  }

  requireEntry(sequence: number, hash: string): void {
    if (!this.#hashes.fits(sequence - 1, fromHex(hash) ?? new Uint8Array()))
      throw casRollback(`entry ${sequence} as it was written`, hash.slice(0, 16))
  }
}

/** The row for other processes' guards: which rows this commit changed. */
export function changesRow(sealer: Rows, commit: number, changes: readonly Change[]): Uint8Array {
  const rows = changes.map(({ place, weight }) => hex(place) + hex(low(weight))).join("")
  return sealer.seal("changes", logKey(commit), { rows })
}

/** The identity is there before the first head and never changes; the head cannot bind itself. */
function isApart(table: Table, key: string): boolean {
  return table === "meta" && (key === headKey || key === "identity")
}

function low(weight: bigint): bigint {
  return weight & 0xffffffffffffffffn
}

function numberAt(digits: string, at: number): bigint {
  return BigInt(`0x${digits.slice(at, at + 16)}`)
}

function hex(value: bigint): string {
  return value.toString(16).padStart(16, "0")
}

export async function* allRows(reader: Reader, table: Table, from = "") {
  let after = from
  for (;;) {
    const rows = await reader.range(table, "", after, 1000)
    yield* rows
    const last = rows.at(-1)
    if (last === undefined) return
    after = last.key
  }
}
