// Hot path. Reads layers until all are taken.
import { parentPort, workerData } from "node:worker_threads"
import { type JobReport, LayerJobs, type SharedJobs } from "./layer-jobs.ts"
import type { Passed } from "./pass.ts"

const { shared, thread } = workerData as { readonly shared: SharedJobs; readonly thread: number }
const port = parentPort
const jobs = new LayerJobs(shared)
for (let index = jobs.claimNext(thread); index !== undefined; index = jobs.claimNext(thread))
  port?.postMessage({ index, passed: outcome(index) } satisfies JobReport)

function outcome(index: number): Passed | undefined {
  try {
    const pass = jobs.run(index)
    for (;;) {
      const step = pass.next()
      if (step.done === true) return step.value
    }
  } catch {
    return undefined
  }
}
