import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type Incident, mountAt, openShield, unmountAt } from "../../src/shield/index.ts"
import { createStore, NodeDisk, PinFile, type Protection } from "../../src/volume/index.ts"
import type { TestMount } from "./memory-mount.ts"

export interface VolumeMount extends TestMount {
  readonly incidents: readonly Incident[]
}

/** A new volume with a pin, mounted on a new directory. */
export async function volumeMount(protection: Protection = "encrypted"): Promise<VolumeMount> {
  const folder = mkdtempSync(join(tmpdir(), "coffer-volume-mount-"))
  const [data, pin, directory] = [join(folder, "data"), join(folder, "pin"), join(folder, "mnt")]
  mkdirSync(directory)
  const key = Buffer.alloc(32, 9)
  createStore({
    disk: new NodeDisk(data),
    key,
    protection,
    anchor: PinFile.create(pin),
  }).store.close()
  const incidents: Incident[] = []
  const served = await openShield(
    {
      kind: "volume",
      directory: data,
      key,
      pin,
      readOnly: false,
      freshness: { mode: "strict" },
      root: { uid: 0, gid: 0, mode: 0o755 },
    },
    (incident) => incidents.push(incident),
  )
  await mountAt(served, directory, { source: "test volume" })
  return {
    directory,
    served,
    incidents,
    async end() {
      if (!unmountAt(directory)) unmountAt(directory, true)
      await served.ended
      rmSync(folder, { recursive: true })
    },
  }
}
