import { type Collateral, loadCollateral } from "../attest/index.ts"
import { CofferError } from "../errors.ts"

const readAgainMs = 60_000

/**
 * Collateral that its operator renews while we run: read again when it is a minute old. What cannot be read then is said,
 * and the last that could be stays; it ends by itself. The first reading throws.
 */
export class FreshCollateral {
  readonly #paths: readonly string[]
  readonly #warn: (line: string) => void
  readonly #now: () => number
  #value: Collateral
  #readAt: number

  constructor(paths: readonly string[], warn: (line: string) => void, now = Date.now) {
    this.#paths = paths
    this.#warn = warn
    this.#now = now
    this.#value = loadCollateral(paths)
    this.#readAt = now()
  }

  /** Each look at it may read it again. */
  get collateral(): Collateral {
    const now = this.#now()
    if (now - this.#readAt < readAgainMs) return this.#value
    this.#readAt = now
    try {
      this.#value = loadCollateral(this.#paths)
    } catch (error) {
      if (!(error instanceof CofferError)) throw error
      this.#warn(`coffer: collateral: ${error.message}: the last that could be read is used`)
    }
    return this.#value
  }
}
