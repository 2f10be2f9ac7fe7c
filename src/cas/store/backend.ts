/**
 * What the CAS asks of a database: rows of bytes under (table, key), and commits that are alone.
 * The database is not trusted: rows are sealed above this interface, and what stands here is only durability and order.
 */
export const tables = [
  "meta",
  "policies",
  "documents",
  "secrets",
  "volumes",
  "nonces",
  "verdicts",
  "log",
  "changes",
] as const
export type Table = (typeof tables)[number]

export interface Row {
  readonly key: string
  readonly value: Uint8Array
}

/** `value` undefined: the row is removed. */
export interface Write {
  readonly table: Table
  readonly key: string
  readonly value: Uint8Array | undefined
}

export interface Reader {
  get(table: Table, key: string): Promise<Uint8Array | undefined>
  /** Rows whose key begins with `prefix` and is greater than `after`, in the order of the keys' bytes. */
  range(table: Table, prefix: string, after: string, limit: number): Promise<readonly Row[]>
}

/** For a thread of its own: nothing here waits for anybody. */
export interface DirectReader {
  getNow(table: Table, key: string): Uint8Array | undefined
}

export interface Backend extends Reader {
  /**
   * Runs `work` while no other commit runs on this database, by any process, then makes its writes durable: all of them
   * or none. `get` of `work`'s reader sees the newest commit. When it rejects with `io`, the writes may or may not be
   * there: callers must be able to repeat. `work` may run again from the start when the database asks for it.
   */
  commit(work: (reader: Reader) => Promise<readonly Write[]>): Promise<void>
  /** Runs `work` on the state of one commit, whatever is committed meanwhile. Nothing waits for it. */
  snapshot<T>(work: (reader: Reader) => Promise<T>): Promise<T>
  /** Rows of a table. */
  count(table: Table): Promise<number>
  /** Idempotent. Waits for the running commit. */
  close(): Promise<void>
}

/** Above every key that `range` leaves out at its beginning. Keys are ASCII, below DEL. */
export function rangeStart(prefix: string, after: string): string {
  if (after >= prefix) return after
  const before = String.fromCharCode(prefix.charCodeAt(prefix.length - 1) - 1)
  return `${prefix.slice(0, -1)}${before}\u007f`
}
