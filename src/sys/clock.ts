import { dlopen, getRawPointer } from "node:ffi"

const { functions: libc } = dlopen(null, {
  clock_gettime: { arguments: ["int32", "pointer"], return: "int32" },
})

const CLOCK_REALTIME_COARSE = 5

const timespec = new BigInt64Array(2)
const at = getRawPointer(timespec.buffer)

/** A time of day that is set anew at each reading: no object a call. */
export interface TimeOfDay {
  seconds: number
  nanoseconds: number
}

/**
 * The clock by which the kernel stamps files: it steps with the kernel's ticks. A finer one would be ahead of it, and a
 * file that the kernel touches after us would seem older.
 */
export function readFileClock(into: TimeOfDay): void {
  libc.clock_gettime(CLOCK_REALTIME_COARSE, at)
  into.seconds = Number(timespec[0])
  into.nanoseconds = Number(timespec[1])
}
