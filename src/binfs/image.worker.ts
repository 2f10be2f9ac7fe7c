// Hot path. Hashes and writes the blocks of an image until its writer is done.
import { closeSync, openSync } from "node:fs"
import { workerData } from "node:worker_threads"
import { workOnRing } from "../verity/index.ts"
import { type ImageWorkerData, sinkTo } from "./image-sink.ts"

const { memory, fd, offset } = workerData as ImageWorkerData
// A descriptor of its own: the writer's number may mean another file by the time that a late write comes. Where it
// cannot be opened the sink throws, and the writer's thread writes.
const own = openAgain(fd)
try {
  workOnRing(memory, sinkTo(own, offset))
} finally {
  if (own !== -1) closeSync(own)
}

function openAgain(number: number): number {
  try {
    return openSync(`/proc/self/fd/${number}`, "r+")
  } catch {
    return -1
  }
}
