import type { FileSystem } from "../fuse/index.ts"
import { openVolume, type VolumeRequest } from "../volume/index.ts"

export interface VolumeMountRequest extends VolumeRequest {
  readonly kind: "volume"
}

/** Opens it for the loop: what does not verify is EIO to its reader, and thrown, so that the loop reports it. */
export function buildVolume(request: VolumeMountRequest): FileSystem {
  return openVolume(request, () => undefined)
}
