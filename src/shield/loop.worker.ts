/** The thread that serves one mount: builds the filesystem that the request names, and runs the loop. */
import type { FileSystem } from "../fuse/index.ts"
import { buildBinfs } from "./build-binfs.ts"
import { buildRegion } from "./build-region.ts"
import { buildVolume } from "./build-volume.ts"
import type { ShieldRequest } from "./request.ts"
import { serveInWorker } from "./serve.ts"
import { volumeRehearsal } from "./volume-rehearsal.ts"

function build(request: ShieldRequest, report: (error: unknown) => void): FileSystem {
  switch (request.kind) {
    case "binfs":
      return buildBinfs(request)
    case "region":
      return buildRegion(request)
    case "volume":
      return buildVolume(request, report)
  }
}

await serveInWorker(
  (request, report) => build(request as ShieldRequest, report),
  (request) => ((request as ShieldRequest).kind === "volume" ? volumeRehearsal() : undefined),
)
