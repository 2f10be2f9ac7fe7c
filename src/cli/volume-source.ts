import { closeSync, openSync, readSync } from "node:fs"
import { fromHex } from "../bytes/index.ts"
import { CofferError, fromSystem } from "../errors.ts"
import { type Freshness, NodeDisk, openStoreForReading, PinFile } from "../volume/index.ts"

/** What names a volume on the command line. */
export interface VolumeSource {
  readonly keyFile?: string
  readonly pin?: string
  readonly pinMode?: "strict" | "periodic"
}

const mostKeyFile = 4096

/** A volume's key: 32 raw bytes, or 64 hex digits and at most a line's end. */
export function readKeyFile(file: string): Uint8Array {
  const bytes = Buffer.alloc(mostKeyFile)
  let size: number
  try {
    const fd = openSync(file, "r")
    try {
      size = readSync(fd, bytes, 0, mostKeyFile, 0)
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    throw fromSystem(error, `key file ${file}`, "coffer keygen --volume FILE makes one")
  }
  const content = bytes.subarray(0, size)
  if (size === 32) return Uint8Array.from(content)
  const text = content.toString("latin1").trimEnd()
  const key = text.length === 64 ? fromHex(text) : undefined
  if (key !== undefined) return key
  throw new CofferError(
    "config",
    `key file ${file}: wanted 32 raw bytes or 64 hex digits, found ${size} bytes`,
    {
      hint: "coffer keygen --volume FILE makes one",
    },
  )
}

/** `strict`: fsync returns when the pin has moved. `periodic`: the pin follows within a second. */
export function freshnessOf(source: VolumeSource): Freshness {
  if (source.pinMode !== "periodic") return { mode: "strict" }
  return { mode: "periodic", everyMs: 1000, everyCommits: 10_000 }
}

/** Opens a volume's directory for reading, at the pinned state when there is a pin. Without a key only an authenticated one. */
export function openVolumeForReading(
  directory: string,
  source: VolumeSource,
): ReturnType<typeof openStoreForReading> {
  const key = source.keyFile === undefined ? undefined : readKeyFile(source.keyFile)
  const options = { disk: new NodeDisk(directory), key }
  if (source.pin === undefined) return openStoreForReading(options)
  return openStoreForReading({ ...options, anchor: PinFile.open(source.pin, "read") })
}
