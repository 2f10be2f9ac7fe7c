import type { FrameStore } from "../frame-store.ts"

const megabyte = 1024 * 1024

/** How much may still be written, without asking the disk each time. */
export class Space {
  readonly #store: FrameStore
  #free = 0
  #total = 0
  /** Of the counter of appended bytes when the disk was asked, and how far that answer reaches. */
  #askedAt = 0
  #reach = -1

  constructor(store: FrameStore) {
    this.#store = store
  }

  /** True when `size` bytes and what comes with them have room. `appended` counts all bytes since the start. */
  admits(size: number, appended: number): boolean {
    const need = size + (size >> 3) + 65536
    const used = appended - this.#askedAt
    if (used + need <= this.#reach) return true
    this.#ask(appended)
    return need <= this.#free
  }

  #ask(appended: number): void {
    const { free, total } = this.#store.space()
    this.#free = free
    this.#total = total
    this.#askedAt = appended
    this.#reach = Math.min(free / 4, 64 * megabyte)
  }

  /** Bytes, as of now. */
  status(appended: number): { readonly free: number; readonly total: number } {
    this.#ask(appended)
    return { free: this.#free, total: this.#total }
  }
}
