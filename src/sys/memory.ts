import { dlopen } from "node:ffi"
import { checked } from "./ffi.ts"

const { functions: libc } = dlopen(null, {
  getrandom: { arguments: ["pointer", "uint64", "uint32"], return: "int64" },
  prctl: { arguments: ["int32", "uint64", "uint64", "uint64", "uint64"], return: "int32" },
  mlockall: { arguments: ["int32"], return: "int32" },
})

const PR_SET_DUMPABLE = 4
const MCL_CURRENT_FUTURE_ONFAULT = 1 | 2 | 4

/**
 * Fills `bytes` (at most 256, so one call gives all) from getrandom(2) itself. A generator in this process would repeat
 * its numbers when a snapshot of the virtual machine is resumed twice; the kernel's is told of that.
 */
export function getrandom(bytes: Uint8Array): void {
  if (bytes.length > 256) throw new TypeError("at most 256 random bytes at a time")
  const got = checked(libc.getrandom(bytes, BigInt(bytes.length), 0), "getrandom")
  if (got !== bytes.length) throw new Error("getrandom gave fewer bytes than asked for")
}

/** No core file of this process, and no other process of the same user may trace or read it. */
export function forbidDumps(): void {
  checked(libc.prctl(PR_SET_DUMPABLE, 0n, 0n, 0n, 0n), "prctl")
}

/** Keeps this process's memory, as it is touched, out of swap. Throws ENOMEM or EPERM where RLIMIT_MEMLOCK forbids it. */
export function lockMemory(): void {
  checked(libc.mlockall(MCL_CURRENT_FUTURE_ONFAULT), "mlockall")
}
