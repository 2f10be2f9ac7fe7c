import type { Transaction } from "./ledger.ts"

const keepMs = 120_000

/**
 * True when `name` is used for the first time. `until`, milliseconds: after it the name would be refused anyway, so it
 * is forgotten a while later; each call clears a few of those away, so their number is bounded by the rate of calls.
 */
export async function useOnce(tx: Transaction, until: number, name: string): Promise<boolean> {
  const key = `${until.toString(16).padStart(12, "0")}${name}`
  if ((await tx.get("nonces", key)) !== undefined) return false
  await tx.put("nonces", key, true)
  for (const old of await tx.keys("nonces", "", 4))
    if (Number.parseInt(old.slice(0, 12), 16) < tx.time - keepMs) await tx.remove("nonces", old)
  return true
}
