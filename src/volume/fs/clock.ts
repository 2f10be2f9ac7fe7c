import type { Time } from "../../fuse/index.ts"

/** The time of day with the resolution of `performance.now`, and never a step back of less than a second. */
export class Clock implements Time {
  seconds = 0
  nanoseconds = 0
  #origin = Date.now() - performance.now()

  /** Sets the clock to now and returns itself. */
  now(): this {
    const ms = this.#origin + performance.now()
    this.seconds = Math.floor(ms / 1000)
    this.nanoseconds = Math.floor((ms - this.seconds * 1000) * 1e6)
    return this
  }

  /** Follows the system's clock when somebody has set it. */
  adjust(): void {
    const origin = Date.now() - performance.now()
    if (Math.abs(origin - this.#origin) > 20) this.#origin = origin
  }
}
