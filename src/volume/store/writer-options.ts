import type { Entropy } from "./entropy.ts"
import type { FreshnessKeeper } from "./freshness.ts"
import type { Garbage } from "./garbage.ts"

/** What a writer of a volume is given beside the volume. */
export interface WriterOptions {
  readonly segmentSize: number
  readonly freshness: FreshnessKeeper
  readonly garbage: Garbage
  /** Milliseconds since 1970. */
  readonly now: () => number
  readonly entropy: Entropy
}
