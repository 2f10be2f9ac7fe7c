import { CofferError } from "../errors.ts"
import type { Check } from "./claims.ts"

/** A refusal by attestation: exit code 5, `reason` is the name of the check that failed. */
export function refuse(
  reason: string,
  message: string,
  facts: Readonly<Record<string, string | number | boolean | null>> = {},
): CofferError {
  return new CofferError("refused", message, { reason, facts })
}

/** The list of named checks of one verification: what held stands here, what does not hold throws. */
export class Checks {
  readonly #done: Check[] = []

  get done(): readonly Check[] {
    return this.#done
  }

  /** `message` says what was wanted and what was found; it is read only when `holds` is false. */
  require(holds: boolean, name: string, message: string): void {
    if (!holds) throw refuse(name, message)
    this.passed(name)
  }

  passed(name: string, note?: string): void {
    if (this.#done.some((check) => check.name === name && check.note === note)) return
    this.#done.push(note === undefined ? { name } : { name, note })
  }
}

/** Runs a parser over foreign bytes; what it cannot read is refused under `reason`. */
export function parsed<T>(reason: string, parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    if (!(error instanceof CofferError) || error.code === "refused") throw error
    throw new CofferError("refused", error.message, { reason, facts: error.facts, cause: error })
  }
}
