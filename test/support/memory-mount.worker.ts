/** Serves a filesystem in memory: what the loop's tests mount. */
import { serveInWorker } from "../../src/shield/index.ts"
import { MemoryFileSystem, type MemoryOptions } from "../suites/memory-fs.ts"

await serveInWorker((request) => new MemoryFileSystem(request as MemoryOptions))
