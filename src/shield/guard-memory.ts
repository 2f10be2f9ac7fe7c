import { readFileSync } from "node:fs"
import { forbidDumps } from "../sys/index.ts"

/**
 * Keys and plaintext are in this process's memory: no core file shows them, and no other process of the user reads them.
 * Returns the swap areas on a disk, which may get them; locking the memory is no way out, since V8 gives pages back
 * with MADV_DONTNEED, which fails on locked ones and ends the process (measured).
 */
export function guardMemory(): readonly string[] {
  forbidDumps()
  return swapAreas()
}

function swapAreas(): string[] {
  try {
    const [, ...lines] = readFileSync("/proc/swaps", "utf8").trim().split("\n")
    return lines
      .map((line) => line.split(/\s/)[0] ?? "")
      .filter((area) => area !== "" && !area.startsWith("/dev/zram"))
  } catch {
    return []
  }
}
