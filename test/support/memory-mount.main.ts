/** Mounts a filesystem in memory on argv[2] and serves it in the foreground, as the commands do: for tests with signals and namespaces. */
import { serveForeground } from "../../src/cli/foreground.ts"
import { processIo } from "../../src/cli/io.ts"
import { mountAt, ServedMount } from "../../src/shield/index.ts"

const target = process.argv[2] ?? ""
const worker = new URL("./memory-mount.worker.ts", import.meta.url)
const served = await ServedMount.open({ worker, request: {} })
await mountAt(served, target, { source: "memory" })
await serveForeground(served, target, processIo())
