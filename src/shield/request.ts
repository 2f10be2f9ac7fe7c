import type { BinfsRequest } from "./build-binfs.ts"
import type { RegionRequest } from "./build-region.ts"
import type { VolumeMountRequest } from "./build-volume.ts"

/** What the shield serves: one kind for each filesystem, each built by a file of its own. */
export type ShieldRequest = BinfsRequest | RegionRequest | VolumeMountRequest
