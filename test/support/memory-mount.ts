import { mkdtempSync, rmdirSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { mountAt, ServedMount, unmountAt } from "../../src/shield/index.ts"
import type { MemoryOptions } from "../suites/memory-fs.ts"

export interface TestMount {
  readonly directory: string
  readonly served: ServedMount
  /** Unmounts and removes the mount point. */
  end(): Promise<void>
}

/** Mounts a filesystem in memory on a new directory. */
export async function memoryMount(request: MemoryOptions = {}): Promise<TestMount> {
  const worker = new URL("./memory-mount.worker.ts", import.meta.url)
  const served = await ServedMount.open({ worker, request })
  const directory = mkdtempSync(join(tmpdir(), "coffer-memory-"))
  await mountAt(served, directory, { source: "memory" })
  return {
    directory,
    served,
    async end() {
      if (!unmountAt(directory)) unmountAt(directory, true)
      await served.ended
      rmdirSync(directory)
    },
  }
}

/** Why nothing can be mounted here, or false: for the `skip` of a test. */
export function cannotMount(): string | false {
  return process.getuid?.() === 0 ? false : "needs root to mount"
}
