/** Counters in Prometheus's text format. Labels come from our own lists, never from a request. */
export class Metrics {
  readonly #requests = new Map<string, number>()
  readonly #seconds = new Map<string, { sum: number; count: number; readonly buckets: number[] }>()

  count(path: string, status: number, reason: string, ms: number): void {
    const key = `path="${path}",status="${status}",reason="${reason.replaceAll(/[^A-Za-z0-9_-]/g, "")}"`
    // A reason can hold a field's name, and a policy's author chose that: the number of series is bounded.
    if (this.#requests.has(key) || this.#requests.size < 2000)
      this.#requests.set(key, (this.#requests.get(key) ?? 0) + 1)
    const timing = this.#seconds.get(path) ?? { sum: 0, count: 0, buckets: bounds.map(() => 0) }
    timing.sum += ms / 1000
    timing.count += 1
    for (const [i, bound] of bounds.entries())
      if (ms / 1000 <= bound) timing.buckets[i] = (timing.buckets[i] ?? 0) + 1
    this.#seconds.set(path, timing)
  }

  text(): string {
    const lines = ["# TYPE coffer_cas_requests_total counter"]
    for (const [key, value] of this.#requests)
      lines.push(`coffer_cas_requests_total{${key}} ${value}`)
    lines.push("# TYPE coffer_cas_request_seconds histogram")
    for (const [path, { sum, count, buckets }] of this.#seconds) {
      for (const [i, bound] of bounds.entries())
        lines.push(
          `coffer_cas_request_seconds_bucket{path="${path}",le="${bound}"} ${buckets[i] ?? 0}`,
        )
      lines.push(`coffer_cas_request_seconds_bucket{path="${path}",le="+Inf"} ${count}`)
      lines.push(
        `coffer_cas_request_seconds_sum{path="${path}"} ${sum}`,
        `coffer_cas_request_seconds_count{path="${path}"} ${count}`,
      )
    }
    lines.push(
      "# TYPE coffer_cas_resident_bytes gauge",
      `coffer_cas_resident_bytes ${process.memoryUsage.rss()}`,
    )
    return `${lines.join("\n")}\n`
  }
}

const bounds = [0.001, 0.005, 0.02, 0.1, 0.5, 2]
