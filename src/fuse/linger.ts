// Hot path: between a reply and the next request.

const longest = 0.2
const shortest = 0.05
const patienceMost = 64

/**
 * How long to look for the next request before the thread sleeps. A sleeping virtual processor takes longer to wake (an
 * exit to the hypervisor, tens of microseconds; more in a confidential VM) than most requests take to serve, and
 * a caller that does one thing after the other waits for that each time. So while requests follow one another closely the
 * loop stays awake for them; when looking has not paid, it looks less often, down to once in 64 waits.
 */
export class Linger {
  #window = 0
  /** Waits to sleep through before looking is tried again. */
  #skip = 0
  #patience = 1
  readonly #alone: boolean

  /** `processors` that this thread may run on: with one alone, who looks keeps the caller from running. */
  constructor(processors: number) {
    this.#alone = processors < 2
  }

  /** Milliseconds to look for before this wait; 0: sleep at once. `due`: there is other work to do. */
  begin(due: boolean): number {
    if (due || this.#alone) return 0
    if (this.#skip === 0) return this.#window
    this.#skip -= 1
    return 0
  }

  /** A request came while we looked. */
  found(): void {
    this.#patience = 1
    this.#window = longest
  }

  /** None came while we looked. */
  missed(): void {
    this.#skip = this.#patience
    this.#patience = Math.min(patienceMost, 2 * this.#patience)
  }

  /** The thread has slept for so long. */
  slept(ms: number): void {
    if (ms < shortest * 4) this.#window = longest
    else if (ms > 1) this.#window = 0
  }
}
