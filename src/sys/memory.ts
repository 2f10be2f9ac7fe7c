import { dlopen } from "node:ffi"
import { checked } from "./ffi.ts"

const { functions: libc } = dlopen(null, {
  prctl: { arguments: ["int32", "uint64", "uint64", "uint64", "uint64"], return: "int32" },
})

const PR_SET_DUMPABLE = 4

/** No core file of this process, and no other process of the same user may trace or read it. */
export function forbidDumps(): void {
  checked(libc.prctl(PR_SET_DUMPABLE, 0n, 0n, 0n, 0n), "prctl")
}
