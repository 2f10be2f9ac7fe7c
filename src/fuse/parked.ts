import type { Completion } from "./filesystem.ts"
import { errno } from "./wire.ts"

const deadlineMs = 30_000

/** Sends the reply to one request by its unique number, which is kept as two words. */
export type Answer = (uniqueLow: number, uniqueHigh: number, error: number) => void

/** Fsyncs that wait for the anchor: each gets exactly one reply, from the filesystem, an interrupt or the deadline. */
export class Parked {
  readonly #waiting = new Map<string, Entry>()
  readonly #answer: Answer

  constructor(answer: Answer) {
    this.#answer = answer
  }

  get size(): number {
    return this.#waiting.size
  }

  /** The completion for the request; it counts as parked only after `park`. */
  create(low: number, high: number): Entry {
    const entry: Entry = {
      low,
      high,
      waiting: true,
      since: 0,
      done: (error) => this.#end(entry, error),
    }
    return entry
  }

  park(entry: Entry, nowMs: number): void {
    entry.since = nowMs
    if (entry.waiting) this.#waiting.set(key(entry.low, entry.high), entry)
  }

  interrupt(low: number, high: number): void {
    const entry = this.#waiting.get(key(low, high))
    if (entry !== undefined) this.#end(entry, errno.EINTR)
  }

  /** Ends what has waited too long. */
  expire(nowMs: number): void {
    for (const entry of this.#waiting.values())
      if (nowMs - entry.since >= deadlineMs) this.#end(entry, errno.EIO)
  }

  #end(entry: Entry, error: number): void {
    if (!entry.waiting) return
    entry.waiting = false
    this.#waiting.delete(key(entry.low, entry.high))
    this.#answer(entry.low, entry.high, error)
  }
}

export interface Entry extends Completion {
  readonly low: number
  readonly high: number
  waiting: boolean
  since: number
}

function key(low: number, high: number): string {
  return `${high}:${low}`
}
