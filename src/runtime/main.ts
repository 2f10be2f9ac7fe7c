/** `coffer-oci`: the OCI runtime that container engines call. Only what must come first; the rest is `program.ts`. */
import { argv } from "node:process"
import { loopWorker, startThread } from "../shield/threads.ts"

// A thread takes as long to start as a program: it starts on another core while this one evaluates the rest.
if (argv[2] === "shield") startThread(loopWorker)
await import("./program.ts")
