/**
 * Bytes of each segment that something still refers to: exact, so a segment without any can go. A count that would fall
 * below zero was wrong before: it stays at zero, `fault` says so, and nothing may go until all are counted again.
 */
export class LiveTable {
  #bytes = new Map<number, number>()
  #total = 0
  #fault: { readonly segment: number; readonly size: number } | undefined

  add(segment: number, size: number): void {
    const before = this.#bytes.get(segment) ?? 0
    const now = before + size
    if (now < 0) this.#fault ??= { segment, size: now }
    if (now <= 0) this.#bytes.delete(segment)
    else this.#bytes.set(segment, now)
    this.#total += Math.max(0, now) - before
  }

  /** The first count that would have fallen below zero. */
  get fault(): { readonly segment: number; readonly size: number } | undefined {
    return this.#fault
  }

  /** Takes what was counted anew. */
  replace(counted: LiveTable): void {
    this.#bytes = new Map(counted.#bytes)
    this.#total = counted.#total
    this.#fault = undefined
  }

  of(segment: number): number {
    return this.#bytes.get(segment) ?? 0
  }

  get total(): number {
    return this.#total
  }

  /** Sorted by segment. */
  entries(): [segment: number, size: number][] {
    return [...this.#bytes].toSorted(([a], [b]) => a - b)
  }
}
