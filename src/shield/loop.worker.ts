/** The thread that serves one mount: builds the filesystem that the request names, and runs the loop. */
import type { FileSystem } from "../fuse/index.ts"
import { buildBinfs } from "./build-binfs.ts"
import type { ShieldRequest } from "./request.ts"
import { serveInWorker } from "./serve.ts"

// Volumes are most of this program, and the binary filesystem, which every container has, needs nothing of them.
async function build(
  request: ShieldRequest,
  report: (error: unknown) => void,
): Promise<FileSystem> {
  switch (request.kind) {
    case "binfs":
      return buildBinfs(request)
    case "region":
      return (await import("./build-region.ts")).buildRegion(request)
    case "volume":
      return (await import("./build-volume.ts")).buildVolume(request, report)
  }
}

/** What a thread that serves a volume does while nobody asks it anything. */
async function spare({ kind }: ShieldRequest): Promise<Iterator<void> | undefined> {
  return kind === "volume" ? (await import("./volume-rehearsal.ts")).volumeRehearsal() : undefined
}

await serveInWorker(
  (request, report) => build(request as ShieldRequest, report),
  (request) => spare(request as ShieldRequest),
)
