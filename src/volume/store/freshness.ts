import { CofferError } from "../../errors.ts"
import { type Anchor, type AnchorState, maxSeenSize } from "./anchor.ts"
import type { StoreItems } from "./commit.ts"

/**
 * `strict`: a synced commit returns after the anchor has it. `periodic`: the anchor follows at the latest `everyMs` after a
 * commit or after `everyCommits` of them: this much an adversary could take back without being noticed.
 */
export type Freshness =
  | { readonly mode: "strict" }
  | { readonly mode: "periodic"; readonly everyMs: number; readonly everyCommits: number }

const patienceMs = 30_000
const retryMs = 1000

function isRefusal(error: unknown): boolean {
  return error instanceof CofferError && error.code === "rollback"
}

/** Moves the anchor after the disk: never before what it names is durable. */
export class FreshnessKeeper {
  readonly #anchor: Anchor | undefined
  readonly #freshness: Freshness
  readonly #now: () => number
  #held: AnchorState | "new"
  #waiting: AnchorState | undefined
  /** A move that threw: it may have been made. */
  #unanswered: AnchorState | undefined
  #waitingSince = 0
  #waitingCount = 0
  #retryAt = 0
  /** What the chain has. */
  #seen: Uint8Array | undefined

  /** `held`: what the anchor holds now; `seen`: the newest word of its keeper in the chain. */
  constructor(
    anchor: Anchor | undefined,
    freshness: Freshness,
    held: AnchorState | "new",
    now: () => number,
    seen?: Uint8Array,
  ) {
    this.#seen = seen
    this.#anchor = anchor
    this.#freshness = freshness
    this.#held = held
    this.#now = now
  }

  /** The newest commit that the anchor holds; without an anchor, the newest durable one. */
  get sequence(): number {
    return this.#held === "new" ? 0 : this.#held.sequence
  }

  /** The disk works on a commit: what the anchor has to do for it can begin, in strict mode. The same object goes to `durable`. */
  prepare(state: AnchorState): void {
    if (this.#freshness.mode === "strict") this.#anchor?.prepare?.(this.#held, state)
  }

  /** A commit is durable. In strict mode it is anchored when this returns. */
  durable(state: AnchorState): void {
    if (this.#anchor === undefined) {
      this.#held = state
      return
    }
    if (this.#waiting === undefined) this.#waitingSince = this.#now()
    this.#waiting = state
    this.#waitingCount += 1
    const { mode } = this.#freshness
    if (mode === "strict" || this.#waitingCount >= this.#freshness.everyCommits) this.anchor()
  }

  /** Moves the anchor to the newest durable commit, in either mode. */
  anchor(): void {
    const to = this.#waiting
    if (to === undefined || this.#anchor === undefined) return
    // Its keeper may have made the move whose answer we never had: a greater one from before it would look like another writer's.
    if (this.#unanswered !== undefined) this.#move(this.#anchor, this.#unanswered)
    this.#move(this.#anchor, to)
    this.#waiting = undefined
    this.#waitingCount = 0
  }

  #move(anchor: Anchor, to: AnchorState): void {
    this.#unanswered = to
    const moved = anchor.move(this.#held, to)
    this.#unanswered = undefined
    if (!moved) {
      throw new CofferError("rollback", `${anchor.name}: another writer has moved the volume on`, {
        reason: "fork",
        facts: { sequence: to.sequence, epoch: to.epoch },
        hint: "two copies of one volume were written: stop one; what this one wrote since is not the volume's state",
      })
    }
    this.#held = to
  }

  /** What a commit keeps of the anchor's keeper: its word when it is new, or, with `anyway`, the newest that there is. */
  seenFor(anyway: boolean): Pick<StoreItems, "seen"> {
    const word = this.#anchor?.seen?.() ?? this.#seen
    if (word === undefined || (!anyway && word === this.#seen)) return {}
    if (word.length > maxSeenSize) throw new TypeError(`a word has at most ${maxSeenSize} bytes`)
    this.#seen = word
    return { seen: word }
  }

  /**
   * Moves the anchor in the background. When it cannot be reached this is quiet and tried again; after half a minute
   * beyond the promised time it is an error, because the promise is broken by then.
   */
  retry(): void {
    try {
      this.anchor()
    } catch (error) {
      const late = this.#now() - this.#waitingSince
      if (isRefusal(error) || this.#freshness.mode === "strict") throw error
      if (late > this.#freshness.everyMs + patienceMs) throw error
      this.#retryAt = this.#now() + retryMs
    }
  }

  keep(): void {
    this.#anchor?.keep?.()
  }

  /** Milliseconds until the anchor is due; undefined when nothing waits. */
  due(): number | undefined {
    if (this.#waiting === undefined || this.#freshness.mode === "strict") return undefined
    const at = Math.max(this.#retryAt, this.#waitingSince + this.#freshness.everyMs)
    return Math.max(0, at - this.#now())
  }
}
