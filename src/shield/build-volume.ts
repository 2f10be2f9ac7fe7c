import type { FileSystem } from "../fuse/index.ts"
import { openVolume, type VolumeRequest } from "../volume/index.ts"

export interface VolumeMountRequest extends VolumeRequest {
  readonly kind: "volume"
}

/** Opens it for the loop: what does not verify is EIO to its reader, and thrown; `report` hears of what fails at a commit. */
export function buildVolume(
  request: VolumeMountRequest,
  report: (error: unknown) => void,
): FileSystem {
  return openVolume(request, report)
}
