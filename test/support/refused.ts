import assert from "node:assert/strict"
import { CofferError } from "../../src/errors.ts"

/** For `assert.throws`: a refusal by attestation (exit 5) with this reason. */
export function refused(reason: string): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof CofferError, String(error))
    assert.equal(`${error.code}: ${error.reason}`, `refused: ${reason}`, error.message)
    return true
  }
}

/** What a verification says in one word: `accepted`, or the reason of the refusal. A fault of ours throws. */
export function verdictOf(verify: () => unknown): string {
  try {
    verify()
    return "accepted"
  } catch (error) {
    if (error instanceof CofferError && error.code === "refused") return error.reason ?? "no reason"
    throw error
  }
}
