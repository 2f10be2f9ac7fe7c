import { z } from "zod"
import { casRollback } from "./head.ts"
import type { Ledger } from "./ledger.ts"

/** A counter that only grows and that the database's owner cannot put back: in a TPM. */
export interface HeadCounter {
  read(): Promise<bigint>
  increment(): Promise<void>
}

const rowSchema = z.strictObject({ value: z.string().regex(/^\d{1,20}$/) })
const key = "counter"

/**
 * Binds the database to the counter: at a start, and again at every interval. The row is written before the counter moves,
 * so a crash between them is harmless; what an adversary can put back unnoticed is at most a state of the last interval.
 * `first`: the database was made just now, so it need not have the row.
 */
export async function bindToCounter(
  ledger: Ledger,
  counter: HeadCounter,
  first: boolean,
): Promise<void> {
  const now = await counter.read()
  await ledger.transact(async (tx) => {
    const row = await tx.get("meta", key)
    if (row === undefined && !first)
      throw casRollback(`a database bound to the counter (${now})`, "one that never was")
    const bound = row === undefined ? now : BigInt(rowSchema.parse(row).value)
    if (bound < now)
      throw casRollback(`a database that the counter (${now}) knows`, `one of ${bound}`)
    await tx.put("meta", key, { value: String(now + 1n) })
    tx.log("counter-bound", "", { value: String(now + 1n) })
  })
  await counter.increment()
}
