import { rehearsal } from "../fuse/index.ts"
import { MemoryVolume } from "../volume/index.ts"

/** Spare work for a thread that serves a volume: the common requests, on a small volume in memory, half a second in all. */
export function volumeRehearsal(): Iterator<void> {
  const volume = new MemoryVolume()
  return rehearsal(() => volume.open())
}
