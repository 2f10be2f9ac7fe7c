// Hot path: see page.ts.
import type { Catalog } from "./catalog.ts"
import { Inode } from "./inode.ts"
import { itemType, keyOf } from "./keys.ts"

/** Decoded inodes: all that differ from the index, and the last used of the others. */
export class Inodes {
  readonly #catalog: Catalog
  readonly #capacity: number
  readonly #known = new Map<number, Inode>()
  readonly #looked = new Inode(0)
  #dirty: Inode[] = []

  constructor(catalog: Catalog, capacity: number) {
    this.#catalog = catalog
    this.#capacity = capacity
  }

  get(id: number): Inode | undefined {
    const known = this.#known.get(id)
    if (known !== undefined) {
      known.touched = true
      return known
    }
    const tree = this.#catalog.tree
    if (!tree.find(keyOf(id, itemType.inode), 0)) return undefined
    const inode = new Inode(id)
    inode.decode(tree.page.words, tree.at >> 2)
    this.#known.set(id, inode)
    return inode
  }

  /** For a look: valid until the next call. A walk over many files makes no objects, and puts out none that is in use. */
  look(id: number): Inode | undefined {
    const known = this.#known.get(id)
    if (known !== undefined) return known
    const tree = this.#catalog.tree
    if (!tree.find(keyOf(id, itemType.inode), 0)) return undefined
    const inode = this.#looked
    inode.id = id
    inode.decode(tree.page.words, tree.at >> 2)
    return inode
  }

  /** A new inode, in memory only until `flush`. */
  create(id: number): Inode {
    const inode = new Inode(id)
    this.#known.set(id, inode)
    this.changed(inode)
    return inode
  }

  changed(inode: Inode): void {
    if (inode.dirty) return
    inode.dirty = true
    this.#dirty.push(inode)
  }

  /** The inode leaves the index. */
  remove(inode: Inode): void {
    inode.gone = true
    inode.dirty = false
    this.#known.delete(inode.id)
    this.#catalog.remove(keyOf(inode.id, itemType.inode), 0)
  }

  get dirtyCount(): number {
    return this.#dirty.length
  }

  /** Writes all that differ into the index. */
  flush(): void {
    for (const inode of this.#dirty) {
      if (!inode.dirty) continue
      const size = inode.encode(this.#catalog.words)
      this.#catalog.put(keyOf(inode.id, itemType.inode), 0, size)
      inode.dirty = false
    }
    this.#dirty = []
  }

  /** Forgets what was not used lately, when there are too many. Between two operations only. */
  trim(): void {
    if (this.#known.size <= this.#capacity) return
    const target = this.#capacity * 0.75
    for (const [id, inode] of this.#known) {
      if (this.#known.size <= target) return
      if (inode.dirty) continue
      if (inode.touched) {
        inode.touched = false
        this.#known.delete(id)
        this.#known.set(id, inode)
      } else this.#known.delete(id)
    }
  }
}
