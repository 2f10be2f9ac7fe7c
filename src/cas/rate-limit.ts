/** A token bucket for each address. Forgets the oldest addresses, so that many of them do not cost memory. */
export class RateLimit {
  readonly #perSecond: number
  readonly #buckets = new Map<string, { tokens: number; at: number }>()

  constructor(perSecond: number) {
    this.#perSecond = perSecond
  }

  allows(address: string, now = performance.now()): boolean {
    let bucket = this.#buckets.get(address)
    if (bucket === undefined) {
      const [oldest] = this.#buckets.keys()
      if (this.#buckets.size >= 10_000 && oldest !== undefined) this.#buckets.delete(oldest)
      bucket = { tokens: this.#perSecond, at: now }
      this.#buckets.set(address, bucket)
    }
    bucket.tokens = Math.min(
      this.#perSecond,
      bucket.tokens + ((now - bucket.at) / 1000) * this.#perSecond,
    )
    bucket.at = now
    if (bucket.tokens < 1) return false
    bucket.tokens -= 1
    return true
  }
}
