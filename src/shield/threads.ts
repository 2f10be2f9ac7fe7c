import { Worker } from "node:worker_threads"
import { workerUrl } from "../sys/worker.ts"

// Imports nothing that takes time: a program may start a thread here before it evaluates what it needs itself.

/** A loop makes little garbage; with V8's own choice it takes 40 MiB more, which the index's cache uses better. */
const youngGenerationMb = 6

/** The thread of `loop.worker.ts`, the shield's own filesystems. */
export const loopWorker = workerUrl("loop", import.meta.url)

let early: Worker | undefined

/** Starts a thread for the next `threadOf(loopWorker)`. */
export function startLoopThread(): void {
  early = start(loopWorker).once("error", forget).once("exit", forget)
}

/** A thread of this program that waits for its first message: the one that was started early, else a new one. */
export function threadOf(worker: URL): Worker {
  const started = early
  if (started === undefined || worker.href !== loopWorker.href) return start(worker)
  early = undefined
  return started.off("error", forget).off("exit", forget)
}

// One that is started in its place says why.
function forget(): void {
  early = undefined
}

function start(worker: URL): Worker {
  return new Worker(worker, { resourceLimits: { maxYoungGenerationSizeMb: youngGenerationMb } })
}
