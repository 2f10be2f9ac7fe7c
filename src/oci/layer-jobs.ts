// What the main thread and the workers that read layers share. It imports little, so that a worker starts quickly.
import { tarSourceOfRange } from "../tar/index.ts"
import { type Compression, type Passed, passOver } from "./pass.ts"
import { requireBelow, SpoolFile } from "./spool-file.ts"

/** A layer to be read once, and where its plain bytes go. */
export interface LayerJob {
  /** For messages. */
  readonly what: string
  /** Where its bytes lie, in a file that stays open until the job is done. */
  readonly place: { readonly fd: number; readonly offset: number; readonly size: number }
  readonly compression: Compression
  /** A spool's file; undefined: only the digests are wanted. */
  readonly target: number | undefined
  /** Bytes after decompression that are allowed. */
  readonly limit: number
}

export interface SharedJobs {
  readonly jobs: readonly LayerJob[]
  /** A word for each job: `free`, or who has taken it. */
  readonly owners: SharedArrayBuffer
  /** Bytes of each job so far, after decompression; 64 bits each. */
  readonly sizes: SharedArrayBuffer
  /** Bytes that all jobs together may have after decompression. */
  readonly limit: number
}

/** What a worker says when it is done with a job; without `passed` it failed, and the main thread meets the error itself. */
export interface JobReport {
  readonly index: number
  readonly passed: Passed | undefined
}

const free = 0
/** The main thread; workers are 2 and above. */
export const mainThread = 1

/** The table of jobs, as one thread sees it. */
export class LayerJobs {
  readonly jobs: readonly LayerJob[]
  readonly #owners: Int32Array
  readonly #sizes: BigInt64Array
  readonly #limit: number

  constructor({ jobs, owners, sizes, limit }: SharedJobs) {
    this.jobs = jobs
    this.#owners = new Int32Array(owners)
    this.#sizes = new BigInt64Array(sizes)
    this.#limit = limit
  }

  /** False: somebody else has it. */
  claim(index: number, thread: number): boolean {
    return Atomics.compareExchange(this.#owners, index, free, thread) === free
  }

  /** The first that nobody has, which is the caller's then. */
  claimNext(thread: number): number | undefined {
    const index = this.jobs.findIndex((_, i) => this.claim(i, thread))
    return index === -1 ? undefined : index
  }

  ownerOf(index: number): number {
    return Atomics.load(this.#owners, index)
  }

  /** Bytes of all jobs so far, after decompression. */
  done(): number {
    let sum = 0
    for (let i = 0; i < this.jobs.length; i += 1) sum += Number(Atomics.load(this.#sizes, i))
    return sum
  }

  /** Does a job that the caller has claimed, from the beginning. */
  *run(index: number): Generator<number, Passed> {
    const job = this.jobs[index]
    if (job === undefined) throw new TypeError(`no job ${index}`)
    const { what, place, compression, target, limit } = job
    const spool = target === undefined ? undefined : new SpoolFile(target, what)
    spool?.clear()
    let size = 0
    const source = tarSourceOfRange(place.fd, place.offset, place.size)
    return yield* passOver(source, compression, what, (piece) => {
      size += piece.length
      requireBelow(limit, size, what)
      // Counted before the sum is made: of two threads at the limit, none goes over it.
      Atomics.store(this.#sizes, index, BigInt(size))
      requireBelow(this.#limit, this.done(), what)
      spool?.write(piece)
    })
  }
}
