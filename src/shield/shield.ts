import type { IdMaps } from "../fuse/index.ts"
import type { Incident } from "./protocol.ts"
import type { ShieldRequest } from "./request.ts"
import { ServedMount } from "./served-mount.ts"
import { loopWorker } from "./threads.ts"

/** Opens one of the shield's own filesystems in a thread. Then `mountAt`, or a mount by a child and `begin`. */
export function openShield(
  request: ShieldRequest,
  onIncident: (incident: Incident) => void,
  ids?: IdMaps,
): Promise<ServedMount> {
  return ServedMount.open({ worker: loopWorker, request, onIncident, ids })
}
