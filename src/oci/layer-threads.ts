import { availableParallelism } from "node:os"
import { SHARE_ENV, Worker } from "node:worker_threads"
import { workerUrl } from "../sys/index.ts"
import type { OnProgress } from "../tree/index.ts"
import { type JobReport, type LayerJob, LayerJobs, mainThread } from "./layer-jobs.ts"
import type { Passed } from "./pass.ts"
import { inTurns } from "./spool.ts"

/** A layer below this is read before a worker has begun; bytes as stored. */
const worthAWorker = 4 << 20
const mostWorkers = 7
const progressEvery = 100

/**
 * Reads the layers of an image on all cores, each once. This thread is one of them: it works rather than waits. What a worker
 * cannot do is done again here, so that errors come from one place. Call `stop` before the jobs' files are closed.
 */
export class LayerThreads {
  readonly #table: LayerJobs
  readonly #onProgress: OnProgress
  readonly #workers: Worker[] = []
  readonly #found = new Map<number, Passed>()
  /** Jobs that a worker has failed at. */
  readonly #again = new Set<number>()
  #report = Promise.withResolvers<void>()

  /** `workerCount`: as many as are worth it when undefined. */
  constructor(
    jobs: readonly LayerJob[],
    limit: number,
    onProgress: OnProgress,
    workerCount?: number,
  ) {
    const owners = new SharedArrayBuffer(4 * jobs.length)
    const sizes = new SharedArrayBuffer(8 * jobs.length)
    const shared = { jobs, owners, sizes, limit }
    this.#table = new LayerJobs(shared)
    this.#onProgress = onProgress
    for (let i = 0; i < (workerCount ?? worthwhile(jobs)); i += 1) {
      const thread = mainThread + 1 + i
      const workerData = { shared, thread }
      const url = workerUrl("layer", import.meta.url)
      const worker = new Worker(url, { workerData, env: SHARE_ENV, trackUnmanagedFds: false })
      worker.on("message", (report: JobReport) => this.#take(report))
      // One that dies is one that failed: its end follows.
      worker.on("error", () => undefined)
      worker.on("exit", () => this.#end(thread))
      this.#workers.push(worker)
    }
  }

  /** What was found in the layer of that job. Throws what its pass threw. */
  async passed(index: number): Promise<Passed> {
    for (;;) {
      const found = this.#found.get(index)
      if (found !== undefined) return found
      const mine = this.#again.delete(index) || this.#table.claim(index, mainThread)
      const next = mine ? index : this.#table.claimNext(mainThread)
      if (next === undefined) await this.#wait()
      else this.#found.set(next, await this.#run(next))
    }
  }

  /** Nobody reads or writes for a job once this returns. */
  async stop(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()))
  }

  async #run(index: number): Promise<Passed> {
    const table = this.#table
    const say = () => this.#onProgress(table.done(), undefined)
    return await inTurns(
      (function* () {
        const pass = table.run(index)
        for (let step = pass.next(); ; step = pass.next()) {
          say()
          if (step.done === true) return step.value
          yield step.value
        }
      })(),
    )
  }

  async #wait(): Promise<void> {
    const timer = setInterval(() => this.#onProgress(this.#table.done(), undefined), progressEvery)
    await this.#report.promise
    clearInterval(timer)
  }

  #take({ index, passed }: JobReport): void {
    if (passed === undefined) this.#again.add(index)
    else this.#found.set(index, passed)
    this.#wake()
  }

  #end(thread: number): void {
    for (let i = 0; i < this.#table.jobs.length; i += 1)
      if (this.#table.ownerOf(i) === thread && !this.#found.has(i)) this.#again.add(i)
    this.#wake()
  }

  #wake(): void {
    this.#report.resolve()
    this.#report = Promise.withResolvers()
  }
}

function worthwhile(jobs: readonly LayerJob[]): number {
  const large = jobs.filter(({ place }) => place.size >= worthAWorker).length
  return Math.max(0, Math.min(large - 1, availableParallelism() - 1, mostWorkers))
}
