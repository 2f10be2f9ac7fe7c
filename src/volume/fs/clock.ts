import type { Time } from "../../fuse/index.ts"
import { readFileClock } from "../../sys/index.ts"

/** The time of day, by the clock with which the kernel stamps what it writes back to us. */
export class Clock implements Time {
  seconds = 0
  nanoseconds = 0

  /** Sets the clock to now and returns itself. */
  now(): this {
    readFileClock(this)
    return this
  }
}
