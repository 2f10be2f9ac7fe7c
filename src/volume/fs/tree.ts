// Hot path: see page.ts.
import type { FrameStore, Place } from "../frame-store.ts"
import type { LiveTable } from "./live-table.ts"
import { aligned, type Page, pageSize } from "./page.ts"
import { childIndexOf, PageCache } from "./page-cache.ts"
import { storedKey } from "./stored-page.ts"

const placeSize = 12

/**
 * A copy-on-write B+tree in frames of the store: ordered keys (hi, lo), each up to 2^53, values up to `maxValueSize`.
 * One cursor: `find`, `seek`, `floor`, `next` move it; `put` and `remove` leave it undefined but for what they say.
 * A change stays in memory until `cache.writeAll`; the old pages stay in the store, so a crash loses only changes.
 */
export class Tree {
  readonly cache: PageCache
  #root: Page
  /** The cursor. Valid until the next call. */
  page: Page
  index = 0

  constructor(store: FrameStore, live: LiveTable, cacheSize: number, writable = true) {
    this.cache = new PageCache(store, live, cacheSize, writable)
    this.#root = this.cache.newPage(0)
    this.cache.markDirty(this.#root)
    this.page = this.#root
  }

  get root(): Page {
    return this.#root
  }

  /** Takes the tree that stands in the store, in place of the empty one. */
  open(segment: number, offset: number, size: number): void {
    this.cache.discard(this.#root)
    this.#root = this.cache.root(segment, offset, size)
    this.page = this.#root
  }

  /** Where the cursor's value begins in `page.bytes`. */
  get at(): number {
    return this.page.valueAt(this.index)
  }

  get size(): number {
    return this.page.valueSize(this.index)
  }

  get hi(): number {
    return this.page.hi(this.index)
  }

  get lo(): number {
    return this.page.lo(this.index)
  }

  #descend(hi: number, lo: number): Page {
    let page = this.#root
    while (page.level > 0) page = this.cache.child(page, page.childIndex(hi, lo))
    this.page = page
    this.index = page.lowerBound(hi, lo)
    return page
  }

  find(hi: number, lo: number): boolean {
    return this.#descend(hi, lo).equals(this.index, hi, lo)
  }

  /** To the first entry whose key is not less; false when there is none. */
  seek(hi: number, lo: number): boolean {
    const page = this.#descend(hi, lo)
    return this.index < page.count || this.#nextPage()
  }

  /** To the last entry whose key is not greater; false when there is none. */
  floor(hi: number, lo: number): boolean {
    const page = this.#descend(hi, lo)
    if (page.equals(this.index, hi, lo)) return true
    this.index -= 1
    return this.index >= 0 || this.#previousPage()
  }

  next(): boolean {
    this.index += 1
    return this.index < this.page.count || this.#nextPage()
  }

  #nextPage(): boolean {
    return this.#step(1)
  }

  #previousPage(): boolean {
    return this.#step(-1)
  }

  // To the nearest entry of the leaf beside ours. Leaves are never empty, but for a root.
  #step(direction: 1 | -1): boolean {
    let page = this.page
    for (;;) {
      const parent = page.parent
      if (parent === undefined) return false
      const index = childIndexOf(parent, page) + direction
      if (index >= 0 && index < parent.count) {
        page = this.cache.child(parent, index)
        break
      }
      page = parent
    }
    while (page.level > 0) page = this.cache.child(page, direction === 1 ? 0 : page.count - 1)
    this.page = page
    this.index = direction === 1 ? 0 : page.count - 1
    return page.count > 0
  }

  /** Makes the key's entry, or keeps it, with room for a value; the cursor stands on it, and the caller fills it at `at`. */
  put(hi: number, lo: number, size: number): void {
    const found = this.find(hi, lo)
    this.cache.markDirty(this.page)
    if (found) {
      if (this.page.resize(this.index, size) >= 0) return
      this.page.remove(this.index)
    }
    this.#insert(hi, lo, size)
  }

  // At the cursor, which `find` has set.
  #insert(hi: number, lo: number, size: number): void {
    while (!this.page.fits(hi, lo, size)) this.#split()
    this.page.insert(this.index, hi, lo, size)
  }

  // Makes two pages of the cursor's; the cursor then stands where the key belongs.
  #split(): void {
    const left = this.page
    const at = splitPoint(left, this.index)
    const right = this.#splitOff(left, at)
    if (this.index <= at) return
    this.page = right
    this.index -= at
  }

  // Moves the entries from `at` into a new page behind; the parents get room for it.
  #splitOff(left: Page, at: number): Page {
    const right = this.cache.newPage(left.level)
    right.take(left, at, left.count)
    if (left.level > 0) {
      for (let i = at; i < left.count; i += 1) {
        const child = left.children[i]
        right.children.push(child)
        if (child !== undefined) child.parent = right
      }
      left.children.length = at
    }
    left.truncate(at)
    this.cache.markDirty(left)
    this.cache.markDirty(right)
    this.#adopt(left, right)
    return right
  }

  #adopt(left: Page, right: Page): void {
    let parent = left.parent
    if (parent === undefined) {
      parent = this.cache.newPage(left.level + 1)
      this.#root = parent
      this.#enter(parent, 0, left)
    } else if (!hasRoom(parent, left) || !hasRoom(parent, right)) {
      const index = childIndexOf(parent, left)
      this.#splitOff(parent, index === parent.count - 1 ? parent.count - 1 : parent.count >> 1)
      parent = left.parent as Page
    }
    const index = childIndexOf(parent, left)
    if (index === 0) lowerFirst(parent, left)
    this.#enter(parent, index + 1, right)
  }

  #enter(parent: Page, index: number, child: Page): void {
    const at = parent.insert(index, child.hi(0), child.lo(0), placeSize) >> 2
    parent.words[at] = child.segment
    parent.words[at + 1] = child.offset
    parent.words[at + 2] = child.size
    parent.children.splice(index, 0, child)
    child.parent = parent
    this.cache.markDirty(parent)
  }

  /** Lets the cache shrink in the middle of a walk: the cursor stays on its entry. */
  trim(): void {
    const { hi, lo } = this
    this.cache.trim()
    this.find(hi, lo)
  }

  /** The stored page `payload` at `place` is to stand elsewhere: if it is one of ours, it becomes dirty. */
  displace(payload: Buffer, place: Readonly<Place>): void {
    const stored = storedKey(payload)
    if (stored === undefined) return
    let page = this.#root
    while (page.level > stored.level)
      page = this.cache.child(page, page.childIndex(stored.hi, stored.lo))
    const { segment, offset } = page
    if (page.size !== 0 && segment === place.segment && offset === place.offset)
      this.cache.markDirty(page)
  }

  /** Visits every page, parents first, by its place; leaves that are not in memory are not read. */
  visitPages(visit: (segment: number, offset: number, size: number) => void): void {
    const stack = [this.#root]
    for (let page = stack.pop(); page !== undefined; page = stack.pop()) {
      visit(page.segment, page.offset, page.size)
      for (let i = 0; page.level > 0 && i < page.count; i += 1) {
        const at = page.valueAt(i) >> 2
        const child = page.children[i]
        if (page.level > 1 || child !== undefined) stack.push(this.cache.child(page, i))
        else
          visit(
            page.words[at] as number,
            page.words[at + 1] as number,
            page.words[at + 2] as number,
          )
      }
    }
  }

  /** Removes the cursor's entry. */
  remove(): void {
    const page = this.page
    page.remove(this.index)
    this.cache.markDirty(page)
    if (page.used > pageSize / 4) return
    if (page.count === 0) this.#unlink(page)
    else this.#join(page)
  }

  // An empty page leaves the tree, and so do parents that have no other child.
  #unlink(page: Page): void {
    const parent = page.parent
    if (parent === undefined) return
    this.#forgetChild(parent, childIndexOf(parent, page))
    this.cache.discard(page)
    if (parent.count === 0 && parent.parent !== undefined) this.#unlink(parent)
    else this.#shrink()
  }

  #forgetChild(parent: Page, index: number): void {
    parent.remove(index)
    parent.children.splice(index, 1)
    this.cache.markDirty(parent)
  }

  // Only with a neighbour in memory: a removal reads nothing.
  #join(page: Page): void {
    const parent = page.parent
    if (parent === undefined) return
    const index = childIndexOf(parent, page)
    const right = parent.children[index + 1]
    const left = index > 0 ? parent.children[index - 1] : undefined
    if (right !== undefined && fitTogether(page, right)) this.#merge(parent, index, page, right)
    else if (left !== undefined && fitTogether(page, left))
      this.#merge(parent, index - 1, left, page)
  }

  #merge(parent: Page, index: number, left: Page, right: Page): void {
    left.take(right, 0, right.count)
    for (const child of right.children) {
      left.children.push(child)
      if (child !== undefined) child.parent = left
    }
    this.cache.markDirty(left)
    this.#forgetChild(parent, index + 1)
    this.cache.discard(right)
    this.#shrink()
  }

  #shrink(): void {
    while (this.#root.level > 0 && this.#root.count <= 1) {
      const old = this.#root
      const child = old.count === 0 ? this.cache.newPage(0) : this.cache.child(old, 0)
      child.parent = undefined
      this.cache.discard(old)
      this.#root = child
      this.cache.markDirty(child)
    }
  }
}

// An inner page may get the first key of a child that it has, or of a new one.
function hasRoom(parent: Page, child: Page): boolean {
  return parent.fits(child.hi(0), child.lo(0), placeSize)
}

// With room to grow, and also when the keys of one are far from those of the other.
function fitTogether(a: Page, b: Page): boolean {
  return a.used + b.used < pageSize * 0.75 && a.wideUsed + b.wideUsed <= pageSize
}

// Keys below all others go to the first child, so its key in the parent may be too great. It is never raised: the key
// that is about to be inserted may be less than the first that is there.
function lowerFirst(parent: Page, child: Page): void {
  const [hi, lo] = [child.hi(0), child.lo(0)]
  if (hi < parent.hi(0) || (hi === parent.hi(0) && lo < parent.lo(0))) parent.setKey(0, hi, lo)
}

// Where entries go to the right page: behind a run of ascending keys when there is one, else in the middle of the bytes.
// A run may step over an entry at a time, as attributes do between extents that are there already; where it has come
// past the middle, splitting in the middle would leave half-full pages behind for ever.
function splitPoint(page: Page, index: number): number {
  if (index === page.count) return page.count - 1
  const step = index - page.lastInsert
  if (index > 0 && step === 1) return index
  const half = middle(page)
  return page.lastInsert >= 0 && step === 2 && index > half ? index : half
}

function middle(page: Page): number {
  const half = page.used >> 1
  let size = 0
  let at = 0
  while (at < page.count - 1 && size < half) {
    size += page.entrySize + aligned(page.valueSize(at))
    at += 1
  }
  return Math.max(1, at)
}
