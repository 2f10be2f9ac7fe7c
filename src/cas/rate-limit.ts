import { isIPv6 } from "node:net"

export interface Rate {
  readonly burst: number
  readonly perSecond: number
}

const maxBuckets = 10_000

/** A token bucket for each address. Forgets the oldest addresses, so that many of them do not cost memory. */
export class RateLimit {
  readonly #rate: Rate
  readonly #buckets = new Map<string, { tokens: number; at: number }>()

  constructor(rate: Rate) {
    this.#rate = rate
  }

  allows(address: string, cost = 1, now = performance.now()): boolean {
    const { burst, perSecond } = this.#rate
    const key = networkOf(address)
    let bucket = this.#buckets.get(key)
    if (bucket === undefined) {
      const [oldest] = this.#buckets.keys()
      if (this.#buckets.size >= maxBuckets && oldest !== undefined) this.#buckets.delete(oldest)
      bucket = { tokens: burst, at: now }
      this.#buckets.set(key, bucket)
    }
    bucket.tokens = Math.min(burst, bucket.tokens + ((now - bucket.at) / 1000) * perSecond)
    bucket.at = now
    const price = Math.min(cost, burst)
    if (bucket.tokens < price) return false
    bucket.tokens -= price
    return true
  }
}

/** Whoever has one IPv6 address has its /64: counted as one. */
export function networkOf(address: string): string {
  if (!isIPv6(address) || address.startsWith("::ffff:")) return address
  const [left = "", right] = address.split("::")
  const head = left === "" ? [] : left.split(":")
  const tail = right === undefined || right === "" ? [] : right.split(":")
  const zeros =
    right === undefined ? [] : Array.from({ length: 8 - head.length - tail.length }, () => "0")
  return [...head, ...zeros, ...tail].slice(0, 4).join(":")
}
