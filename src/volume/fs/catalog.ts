// Hot path: see page.ts.
import { CofferError } from "../../errors.ts"
import type { FrameStore } from "../frame-store.ts"
import {
  cutExtents,
  type Extent,
  newExtent,
  putExtent,
  readExtent,
  sizeOfExtent,
  writeExtent,
} from "./extents.ts"
import { Journal, operation, replay } from "./journal.ts"
import { extentSize, itemType, shortExtentSize } from "./keys.ts"
import { LiveTable } from "./live-table.ts"
import { aligned, maxValueSize } from "./page.ts"
import { Tree } from "./tree.ts"

/**
 * The index with its redo log: each change is made in the tree and noted in the journal. Values come from `words`
 * (`bytes` is the same memory), which the caller fills before `put`.
 */
export class Catalog {
  readonly tree: Tree
  readonly journal = new Journal()
  readonly live = new LiveTable()
  readonly words: Uint32Array
  readonly bytes: Buffer
  readonly #extent = newExtent()

  constructor(store: FrameStore, cacheSize: number, writable: boolean) {
    this.tree = new Tree(store, this.live, cacheSize, writable)
    const memory = new ArrayBuffer(aligned(maxValueSize) + 64)
    this.words = new Uint32Array(memory)
    this.bytes = Buffer.from(memory)
  }

  put(hi: number, lo: number, size: number): void {
    this.words[(size + 3) >> 2] = 0
    this.#put(hi, lo, size)
    this.journal.add(operation.put, hi, lo, this.words, size)
  }

  #put(hi: number, lo: number, size: number): void {
    const tree = this.tree
    tree.put(hi, lo, size)
    const words = tree.page.words
    const at = tree.at >> 2
    const count = (size + 3) >> 2
    if (count > 32) words.set(this.words.subarray(0, count), at)
    else for (let i = 0; i < count; i += 1) words[at + i] = this.words[i] as number
  }

  /** Removes the entry; false when there is none. */
  remove(hi: number, lo: number): boolean {
    if (!this.tree.find(hi, lo)) return false
    this.tree.remove()
    this.journal.add(operation.remove, hi, lo, this.words, 0)
    return true
  }

  /** Bytes of the file from `offset` now stand at `extent`; returns by how many bytes the file's allocation grows. */
  write(inode: number, offset: number, extent: Extent): number {
    const words = this.words
    writeExtent(words, 0, extent)
    const hi = inode * 16 + itemType.extent
    this.journal.add(operation.write, hi, offset, words, sizeOfExtent(extent))
    return extent.length - putExtent(this.tree, this.live, hi, offset, extent)
  }

  /** Makes a hole; returns how many bytes of the file stood there. */
  cut(inode: number, offset: number, length: number): number {
    const hi = inode * 16 + itemType.extent
    const freed = cutExtents(this.tree, this.live, hi, offset, length)
    if (freed === 0) return 0
    this.words[0] = length >>> 0
    this.words[1] = (length / 4294967296) >>> 0
    this.journal.add(operation.cut, hi, offset, this.words, 8)
    return freed
  }

  /** Applies the records of one commit, as they were made. `notice` sees each key of a put or remove before it is applied. */
  replay(records: Uint8Array, notice: (op: number, hi: number) => void): void {
    const whole = replay(records, this.words, (op, hi, lo, size) => {
      if (op === operation.put || op === operation.remove) notice(op, hi)
      this.#apply(op, hi, lo, size)
    })
    if (!whole) throw damaged("whole records")
  }

  #apply(op: number, hi: number, lo: number, size: number): void {
    const words = this.words
    if (op === operation.put) this.#put(hi, lo, size)
    else if (op === operation.remove) {
      if (!this.tree.find(hi, lo)) throw damaged("a removal of what is there")
      this.tree.remove()
    } else if (op === operation.write && (size === extentSize || size === shortExtentSize)) {
      readExtent(words, 0, size, this.#extent)
      putExtent(this.tree, this.live, hi, lo, this.#extent)
    } else if (op === operation.cut && size === 8)
      cutExtents(
        this.tree,
        this.live,
        hi,
        lo,
        (words[0] as number) + (words[1] as number) * 4294967296,
      )
    else throw damaged("a known operation")
    if (this.tree.cache.needsTrim) this.tree.cache.trim()
  }
}

function damaged(wanted: string): CofferError {
  return new CofferError("integrity", `volume log: wanted ${wanted}, found something else`, {
    reason: "index-log",
  })
}
