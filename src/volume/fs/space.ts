import type { FrameStore, ReserveUse, StoreSpace } from "../frame-store.ts"

const megabyte = 1024 * 1024

/** How much may still be written, without asking the disk each time. */
export class Space {
  readonly #store: FrameStore
  #space: StoreSpace = { total: 0, left: { none: 0, some: 0, most: 0, all: 0 } }
  /** Of the counter of appended bytes when the disk was asked, and how far that answer reaches. */
  #askedAt = 0
  #reach = -1

  constructor(store: FrameStore) {
    this.#store = store
  }

  /** True when `size` bytes and what comes with them have room, by that use of the reserve. `appended` counts all bytes since the start. */
  admits(size: number, appended: number, use: ReserveUse = "none"): boolean {
    const need = size + (size >> 3) + 65536
    const used = appended - this.#askedAt
    if (used + need <= this.#reach) return true
    this.#ask(appended)
    return need <= this.#space.left[use]
  }

  #ask(appended: number): void {
    this.#space = this.#store.space()
    this.#askedAt = appended
    this.#reach = Math.min(this.#space.left.none / 4, 64 * megabyte)
  }

  /** Bytes, as of now. */
  status(appended: number): { readonly free: number; readonly total: number } {
    this.#ask(appended)
    return { free: this.#space.left.none, total: this.#space.total }
  }
}
