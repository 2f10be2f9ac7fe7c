/** A small generator for fuzzing (splitmix32): the same numbers for the same seed, on every machine. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** 0 to below `limit`, an integer up to 2^32. */
  below(limit: number): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0
    let value = this.#state
    value = Math.imul(value ^ (value >>> 16), 0x21f0aaad)
    value = Math.imul(value ^ (value >>> 15), 0x735a2d97)
    return Math.floor((((value ^ (value >>> 15)) >>> 0) / 2 ** 32) * limit)
  }

  pick<T>(items: readonly [T, ...(readonly T[])]): T {
    return items[this.below(items.length)] ?? items[0]
  }
}
