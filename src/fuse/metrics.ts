// Hot path: three additions a request, in memory that another thread reads at any time.
import { opcodeCount, opcodes } from "./wire.ts"

/** Places of the totals in the shared array; behind them three numbers an opcode, then the histogram. */
const total = { bytesRead: 0, bytesWritten: 1, faults: 2, tamperEvents: 3, inodes: 4, waiting: 5 }
const perOpcode = 8
const histogramAt = perOpcode + opcodeCount * 3
const histogramBuckets = 32
const length = histogramAt + histogramBuckets

/** Memory for the metrics of one mount. */
export function metricsMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(length * 8)
}

/** The loop's side. */
export class MetricsWriter {
  readonly #numbers: Float64Array

  constructor(memory: SharedArrayBuffer) {
    this.#numbers = new Float64Array(memory)
  }

  /** One request: `error` a negative errno, or what else the handler returned; `ms` from its receipt to its reply. */
  request(opcode: number, error: number, ms: number): void {
    const numbers = this.#numbers
    const at = perOpcode + (opcode < opcodeCount ? opcode : 0) * 3
    numbers[at] = (numbers[at] ?? 0) + 1
    if (error < 0 && error > -4096) numbers[at + 1] = (numbers[at + 1] ?? 0) + 1
    numbers[at + 2] = (numbers[at + 2] ?? 0) + ms
    const bucket = histogramAt + Math.min(histogramBuckets - 1, 32 - Math.clz32(ms * 1000))
    numbers[bucket] = (numbers[bucket] ?? 0) + 1
  }

  read(size: number): void {
    this.#numbers[total.bytesRead] = (this.#numbers[total.bytesRead] ?? 0) + size
  }

  written(size: number): void {
    this.#numbers[total.bytesWritten] = (this.#numbers[total.bytesWritten] ?? 0) + size
  }

  fault(): void {
    this.#numbers[total.faults] = (this.#numbers[total.faults] ?? 0) + 1
  }

  tamper(): void {
    this.#numbers[total.tamperEvents] = (this.#numbers[total.tamperEvents] ?? 0) + 1
  }

  gauges(inodes: number, waiting: number): void {
    this.#numbers[total.inodes] = inodes
    this.#numbers[total.waiting] = waiting
  }
}

export interface FuseMetrics {
  readonly requests: number
  readonly errors: number
  readonly bytesRead: number
  readonly bytesWritten: number
  /** Exceptions in the filesystem that were no integrity errors: each is a fault of ours. */
  readonly faults: number
  readonly tamperEvents: number
  /** Inodes that the kernel holds. */
  readonly inodes: number
  /** Fsyncs that wait for the anchor. */
  readonly waiting: number
  readonly operations: Readonly<Record<string, OperationMetrics>>
  /** Requests by time: those below 1 µs, 2 µs, 4 µs and so on; without the empty end. */
  readonly latencyHistogram: readonly { readonly belowUs: number; readonly count: number }[]
}

export interface OperationMetrics {
  readonly count: number
  readonly errors: number
  readonly meanUs: number
}

/** A snapshot, from any thread. */
export function readMetrics(memory: SharedArrayBuffer): FuseMetrics {
  const numbers = new Float64Array(memory)
  const at = (index: number) => numbers[index] ?? 0
  const operations = Object.entries(opcodes)
    .map(([name, code]) => [name, operation(numbers, code)] as const)
    .filter(([, { count }]) => count > 0)
  const histogram = [...numbers.subarray(histogramAt)].map((count, i) => ({
    belowUs: 2 ** i,
    count,
  }))
  const sum = (offset: number) =>
    Array.from({ length: opcodeCount }, (_, i) => at(perOpcode + i * 3 + offset)).reduce(
      (a, b) => a + b,
      0,
    )
  return {
    requests: sum(0),
    errors: sum(1),
    bytesRead: at(total.bytesRead),
    bytesWritten: at(total.bytesWritten),
    faults: at(total.faults),
    tamperEvents: at(total.tamperEvents),
    inodes: at(total.inodes),
    waiting: at(total.waiting),
    operations: Object.fromEntries(operations),
    latencyHistogram: histogram.slice(0, histogram.findLastIndex(({ count }) => count > 0) + 1),
  }
}

function operation(numbers: Float64Array, code: number): OperationMetrics {
  const at = perOpcode + code * 3
  const count = numbers[at] ?? 0
  return {
    count,
    errors: numbers[at + 1] ?? 0,
    meanUs: count === 0 ? 0 : Math.round(((numbers[at + 2] ?? 0) / count) * 10_000) / 10,
  }
}
