import { type Affected, affectedFiles } from "./affected.ts"
import type { Miscount } from "./fs/recount.ts"
import { VolumeFileSystem } from "./fs/volume-fs.ts"
import { NodeDisk } from "./store/node-disk.ts"
import { openStoreForReading, type StoreInfo } from "./store/open.ts"
import { PinFile } from "./store/pin-file.ts"
import type { Finding } from "./store/verify.ts"

export interface VerifyReport {
  readonly info: StoreInfo
  /** Every damaged, and every dead range of the backing files. */
  readonly findings: readonly Finding[]
  /** What of the filesystem cannot be read because of it. */
  readonly affected: readonly Affected[]
  /** No damage, but a fault of ours: the index counts the live bytes of a segment wrongly. `compact` counts them again. */
  readonly miscount: Miscount | undefined
}

export interface VerifyRequest {
  readonly directory: string
  readonly key: Uint8Array
  readonly pin?: string
}

/**
 * Checks every byte of a volume at its pinned state. What keeps the volume from opening (its header, its log, a rollback) is
 * thrown; all other damage is listed. Takes no lock and changes nothing.
 */
export function verifyVolume(
  { directory, key, pin }: VerifyRequest,
  onProgress: (done: number, total: number) => void,
): VerifyReport {
  const anchor = pin === undefined ? undefined : PinFile.open(pin, "read")
  try {
    const source = { disk: new NodeDisk(directory), key }
    const opened = openStoreForReading(anchor === undefined ? source : { ...source, anchor })
    const { store, recovery, info } = opened
    try {
      const findings: Finding[] = []
      store.verify(
        (finding) => findings.push(finding),
        ({ done, total }) => onProgress(done, total),
      )
      const damages = findings.filter((finding) => finding.what === "damage")
      // A volume that was never mounted has no filesystem yet.
      const used = recovery.checkpoint !== undefined || [...recovery.records].length > 0
      if (!used) return { info, findings, affected: [], miscount: undefined }
      const fs = new VolumeFileSystem(store, recovery, { readOnly: true })
      if (damages.length === 0)
        return { info, findings, affected: [], miscount: fs.core.miscount() }
      return { info, findings, affected: affectedFiles(fs, damages), miscount: undefined }
    } finally {
      store.close()
    }
  } finally {
    anchor?.close()
  }
}
