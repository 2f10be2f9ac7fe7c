import { z } from "zod"
import { CofferError } from "../errors.ts"
import { type Policy, policyFromValue, policyHash } from "../policy/index.ts"
import type { Transaction } from "./ledger.ts"

const policyRowSchema = z.strictObject({
  hash: z.string(),
  document: z.unknown(),
  revision: z.int(),
  /** Milliseconds. */
  changed: z.int(),
})

export interface StoredPolicy {
  readonly hash: string
  readonly policy: Policy
  readonly revision: number
  readonly changed: number
}

// A document in normal form is immutable under its hash: parsing it once is enough.
const parsed = new Map<string, Policy>()
const parsedMax = 2000

export function storedPolicy(row: unknown): StoredPolicy {
  const { hash, document, revision, changed } = policyRowSchema.parse(row)
  let policy = parsed.get(hash)
  if (policy === undefined) {
    policy = policyFromValue(document, "stored policy")
    if (policyHash(policy) !== hash)
      throw new CofferError(
        "integrity",
        `stored policy: wanted hash ${hash}, found another document`,
      )
    const [oldest] = parsed.keys()
    if (parsed.size >= parsedMax && oldest !== undefined) parsed.delete(oldest)
    parsed.set(hash, policy)
  }
  return { hash, policy, revision, changed }
}

export async function readPolicy(tx: Transaction, name: string): Promise<StoredPolicy | undefined> {
  const row = await tx.get("policies", name)
  return row === undefined ? undefined : storedPolicy(row)
}

export async function requirePolicy(tx: Transaction, name: string): Promise<StoredPolicy> {
  const found = await readPolicy(tx, name)
  if (found !== undefined) return found
  throw new CofferError(
    "refused",
    `policy: wanted one that this CAS has, found ${JSON.stringify(name)}`,
    {
      reason: "policy-unknown",
      hint: "create it with `coffer policy create FILE`",
    },
  )
}
