/** What an anchor holds of a volume: the newest state that counts. */
export interface AnchorState {
  readonly volumeId: Uint8Array
  readonly sequence: number
  readonly tag: Uint8Array
  /** The fencing epoch: rises by one with each opening for writing. */
  readonly epoch: number
  /** Where the commit is. A hint only: the tag is what counts. Zeros: it is not known, and is looked for. */
  readonly salt: Uint8Array
  readonly offset: number
  /** An authorised return to this state, from the one with this tag: nothing that follows it on the disk counts. */
  readonly restoredFrom?: Uint8Array
}

export const maxSeenSize = 512

/**
 * Where the freshness of a volume is kept, out of reach of who owns the volume's disk: a pin file, or the CAS.
 * Synchronous; `move` may wait for a network. Each verb may throw `io` or `missing` when it cannot be reached: nothing has
 * moved then, or the move of this call has, and the same call again succeeds. A keeper whose own disk has failed to sync
 * says `io` from then on: what it holds may not be durable.
 */
export interface Anchor {
  /** For messages: `pin file /x/y`. */
  readonly name: string
  /** `new`: known, and never used: the one state from which a volume may be created. */
  read(): AnchorState | "new"
  /**
   * The same `move` may follow soon, with these very objects, when the disk has what it names: all that needs no disk can be
   * done now. Nothing has moved, and nobody else waits for it, if it never follows. Never throws.
   */
  prepare?(from: AnchorState | "new", to: AnchorState): void
  /**
   * Compare-and-swap: to `to` when the anchor holds `from` (tag and epoch). A repeat of the move that is already current
   * succeeds. `false`: it holds something else, so somebody else has written.
   */
  move(from: AnchorState | "new", to: AnchorState): boolean
  /**
   * The keeper's newest signed word on its own history, at most `maxSeenSize` bytes that mean nothing to a volume. Commits
   * keep it, so that a keeper whose disk was put back to an older state meets its own word at the next opening.
   */
  seen?(): Uint8Array | undefined
  /** Throws `rollback` when the keeper is behind one of these words, all of which `seen` gave before. */
  requireNotBehind?(words: readonly Uint8Array[]): void
  /** Called about once a second while the volume is open: what the keeper wants to hear of its user, for example. Never throws. */
  keep?(): void
  close(): void
}

export function sameState(a: AnchorState | "new", b: AnchorState | "new"): boolean {
  if (a === "new" || b === "new") return a === b
  return (
    a.epoch === b.epoch &&
    a.sequence === b.sequence &&
    Buffer.compare(a.tag, b.tag) === 0 &&
    Buffer.compare(a.volumeId, b.volumeId) === 0
  )
}
