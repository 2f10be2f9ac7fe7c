import { randomBytes } from "../crypto/index.ts"
import type { FrameStore, Recovery } from "./frame-store.ts"
import { VolumeFileSystem } from "./fs/volume-fs.ts"
import type { Freshness } from "./store/freshness.ts"
import { NodeDisk } from "./store/node-disk.ts"
import { openStore, openStoreForReading } from "./store/open.ts"
import { PinFile } from "./store/pin-file.ts"

/** What names a volume and how to open it: plain data, so that it can go to a worker. */
export interface VolumeRequest {
  /** The volume's directory. */
  readonly directory: string
  /** 32 bytes; undefined: read an authenticated volume without its key. */
  readonly key: Uint8Array | undefined
  /** The pin file's path. */
  readonly pin?: string
  readonly freshness?: Freshness
  readonly readOnly?: boolean
  /** Owner and permissions of the root of a volume that was never opened before. */
  readonly root?: { readonly uid: number; readonly gid: number; readonly mode: number }
}

/**
 * Opens the filesystem of a volume. For writing it takes the lock, and its open commit is durable and anchored when this
 * returns. `report` hears of each fault that ends all changes, once. Close it with `destroy`, which throws it.
 */
export function openVolume(
  request: VolumeRequest,
  report: (error: unknown) => void,
): VolumeFileSystem {
  return fileSystemOn(openRequested(request), request, report)
}

/** The filesystem on a store that has been opened, by whatever anchor. On failure the store is closed. */
export function fileSystemOn(
  { store, recovery }: { readonly store: FrameStore; readonly recovery: Recovery },
  { readOnly = false, root }: Pick<VolumeRequest, "readOnly" | "root">,
  report: (error: unknown) => void,
): VolumeFileSystem {
  try {
    const options = { readOnly, report, random: randomWords }
    return new VolumeFileSystem(
      store,
      recovery,
      root === undefined ? options : { ...options, root },
    )
  } catch (error) {
    store.close()
    throw error
  }
}

function openRequested(request: VolumeRequest): { store: FrameStore; recovery: Recovery } {
  const { directory, key, pin, freshness } = request
  const disk = new NodeDisk(directory)
  if (request.readOnly === true || key === undefined) {
    const options = { disk, key }
    return openStoreForReading(
      pin === undefined ? options : { ...options, anchor: PinFile.open(pin, "read") },
    )
  }
  const options = { disk, key, settings: freshness === undefined ? {} : { freshness } }
  return openStore(pin === undefined ? options : { ...options, anchor: PinFile.open(pin, "write") })
}

function randomWords(): [number, number] {
  const bytes = Buffer.from(randomBytes(8))
  return [bytes.readUInt32LE(0), bytes.readUInt32LE(4)]
}
