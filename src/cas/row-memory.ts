/** Hot path: each fsync of a service under `freshness: strict`. */
import { equalBytes, type JsonValue } from "../bytes/index.ts"
import type { Rows } from "./rows.ts"
import type { Table } from "./store/backend.ts"

interface Remembered {
  readonly sealed: Uint8Array
  readonly value: unknown
  weight: bigint | undefined
  before: Remembered | undefined
}

/**
 * For a thread that writes the same few rows again and again: what each was, when it was last sealed or opened here, and the
 * time before. The database is read each time, and only where its bytes are still the same is a row neither opened nor
 * weighed again. Values and rows that are given out, or were put in, must not be changed.
 */
export class RowMemory implements Rows {
  readonly #rows: Rows
  readonly #known = new Map<string, Remembered>()
  readonly #places = new Map<string, bigint>()

  constructor(rows: Rows) {
    this.#rows = rows
  }

  /** The row as it was last sealed or opened here; it may never have been written. */
  last(table: Table, key: string): Uint8Array | undefined {
    return this.#known.get(nameOf(table, key))?.sealed
  }

  seal(table: Table, key: string, value: JsonValue): Uint8Array {
    const sealed = this.#rows.seal(table, key, value)
    // A row of changes is written once, under a key that never comes again.
    if (table !== "changes") this.#keep(table, key, sealed, value)
    return sealed
  }

  /** The object that was sealed, or that was opened before, when it is the same row. */
  open(table: Table, key: string, sealed: Uint8Array): unknown {
    const known = this.#find(table, key, sealed)
    if (known !== undefined) return known.value
    const value = this.#rows.open(table, key, sealed)
    this.#keep(table, key, sealed, value)
    return value
  }

  weight(table: Table, key: string, sealed: Uint8Array | undefined): bigint {
    if (sealed === undefined) return 0n
    const known = this.#find(table, key, sealed)
    if (known === undefined) return this.#rows.weight(table, key, sealed)
    known.weight ??= this.#rows.weight(table, key, sealed)
    return known.weight
  }

  place(table: Table, key: string): bigint {
    const name = nameOf(table, key)
    const place = this.#places.get(name) ?? this.#rows.place(table, key)
    this.#places.set(name, place)
    return place
  }

  #keep(table: Table, key: string, sealed: Uint8Array, value: unknown): void {
    const name = nameOf(table, key)
    const before = this.#known.get(name)
    if (before !== undefined) before.before = undefined
    this.#known.set(name, { sealed, value, weight: undefined, before })
  }

  #find(table: Table, key: string, sealed: Uint8Array): Remembered | undefined {
    let known = this.#known.get(nameOf(table, key))
    while (known !== undefined && !equalBytes(known.sealed, sealed)) known = known.before
    return known
  }
}

function nameOf(table: Table, key: string): string {
  return `${table}\0${key}`
}
