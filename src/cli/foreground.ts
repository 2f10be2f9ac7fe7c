import type { CofferError } from "../errors.ts"
import { guardMemory, type Incident, type ServedMount, unmountAt } from "../shield/index.ts"
import type { Io } from "./io.ts"

/** What a mount's command says of a fault while it serves: one line of JSON, so that it can be collected. */
export function incidentLine(incident: Incident): string {
  return JSON.stringify({ incident })
}

/**
 * Keeps a mount in the foreground until it ends: by SIGINT or SIGTERM, or by `umount` from outside. Prints one line when
 * it is ready. SIGUSR2 writes the metrics to stderr as one line of JSON.
 */
export async function serveForeground(served: ServedMount, target: string, io: Io): Promise<void> {
  const swap = guardMemory()
  if (swap.length > 0)
    io.warn(
      `swap is on (${swap.join(", ")}): unless it is encrypted, it may get keys and plaintext`,
    )
  const stop = stopper(served, target, io)
  const metrics = () => io.warn(JSON.stringify({ metrics: served.metrics() }))
  process.on("SIGINT", stop)
  process.on("SIGTERM", stop)
  process.on("SIGUSR2", metrics)
  io.print(`ready ${target}`)
  try {
    await served.ended
  } catch (error) {
    unmountAt(target, true)
    throw error as CofferError
  } finally {
    process.off("SIGINT", stop)
    process.off("SIGTERM", stop)
    process.off("SIGUSR2", metrics)
  }
}

function stopper(served: ServedMount, target: string, io: Io): () => void {
  let asked = 0
  return () => {
    asked += 1
    if (asked > 1) {
      io.warn(`coffer: ${target}: ended while in use`)
      served.stop()
      return
    }
    if (unmountAt(target)) return
    unmountAt(target, true)
    io.warn(`coffer: ${target}: still in use, detached from the tree; ends with its last user`)
    io.warn("  hint: fuser -vm shows who uses it; a second signal ends it at once")
  }
}
