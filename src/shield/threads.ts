import { Worker } from "node:worker_threads"
import { workerUrl } from "../sys/worker.ts"

// Imports nothing that takes time: a program may start a thread here before it evaluates what it needs itself.

/** A loop makes little garbage; with V8's own choice it takes 40 MiB more, which the index's cache uses better. */
const youngGenerationMb = 6

/** The thread of `loop.worker.ts`, the shield's own filesystems. */
export const loopWorker = workerUrl("loop", import.meta.url)

/** By its program. */
const early = new Map<string, Worker>()

/** Starts a thread for the next `threadOf(worker)`. Until then it keeps no program from its end. */
export function startThread(worker: URL): void {
  const thread = start(worker)
  thread.unref()
  early.set(worker.href, thread)
  for (const end of ["error", "exit"]) thread.once(end, forget)
}

/** A thread of this program that waits for its first message: the one that was started early, else a new one. */
export function threadOf(worker: URL): Worker {
  const started = early.get(worker.href)
  if (started === undefined) return start(worker)
  early.delete(worker.href)
  started.ref()
  return started.off("error", forget).off("exit", forget)
}

// One that is started in its place says why.
function forget(this: Worker): void {
  for (const [program, thread] of early) if (thread === this) early.delete(program)
}

function start(worker: URL): Worker {
  return new Worker(worker, { resourceLimits: { maxYoungGenerationSizeMb: youngGenerationMb } })
}
