/** Memory for request bodies that are still arriving, over all connections: slow clients cannot add theirs up. */
export class BodyBudget {
  #left: number

  /** `size`: bytes. */
  constructor(size: number) {
    this.#left = size
  }

  /** False: there is no room, and nothing was taken. What was taken is given back with `give`. */
  take(size: number): boolean {
    if (size > this.#left) return false
    this.#left -= size
    return true
  }

  give(size: number): void {
    this.#left += size
  }
}
