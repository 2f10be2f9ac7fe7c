import type { FileSystem } from "../fuse/index.ts"
import { ExtentDisk, type FileExtent, fileSystemOn, openOnce } from "../volume/index.ts"

/** Content of an image in a store that was written once. */
export interface RegionRequest {
  readonly kind: "region"
  /** For messages. */
  readonly name: string
  readonly files: readonly FileExtent[]
  /** 32 bytes; undefined: an authenticated store. */
  readonly key: Uint8Array | undefined
  /** 32 bytes, from a source that is trusted: the measured manifest or the policy. */
  readonly tag: Uint8Array
}

/** Opens it at exactly this tag, for reading only; what does not verify is EIO to its reader. */
export function buildRegion({ name, files, key, tag }: RegionRequest): FileSystem {
  const disk = new ExtentDisk(name, files)
  try {
    const fs = fileSystemOn(openOnce({ disk, key, tag }), { readOnly: true }, () => undefined)
    const close = fs.destroy.bind(fs)
    fs.destroy = () => {
      close()
      disk.closeAll()
    }
    return fs
  } catch (error) {
    disk.closeAll()
    throw error
  }
}
