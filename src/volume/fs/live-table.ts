/** Bytes of each segment that something still refers to: exact, so a segment without any can go. */
export class LiveTable {
  readonly #bytes = new Map<number, number>()
  #total = 0

  add(segment: number, size: number): void {
    const now = (this.#bytes.get(segment) ?? 0) + size
    if (now < 0) throw new Error(`segment ${segment} has ${now} live bytes`)
    if (now === 0) this.#bytes.delete(segment)
    else this.#bytes.set(segment, now)
    this.#total += size
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
