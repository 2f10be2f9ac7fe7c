// Hot path: see page.ts.
import { CofferError } from "../../errors.ts"
import type { FrameStore, Place } from "../frame-store.ts"
import type { LiveTable } from "./live-table.ts"
import { capacityFor, type MemoryUse, Page, pageSize } from "./page.ts"
import { storedLevel } from "./stored-page.ts"

/** Pages that are used more often stay longer: names of many files stand in one leaf, attributes of few. */
const maxHeat = 3
/** Of each size of memory. */
const spareCount = 64

/**
 * The pages of one tree that are in memory. A page is in memory only while its parent is; inner pages stay, leaves go
 * when there are more than the cache may hold. Pages are dropped by `trim` alone, so a caller may hold one until then.
 */
export class PageCache {
  readonly #store: FrameStore
  readonly #live: LiveTable
  readonly #capacity: number
  readonly #writable: boolean
  readonly #leaves: Page[] = []
  readonly #dirty: Page[][] = []
  /** Leaves that were dropped. Reused, page and memory: a new one for each load filled the heap with garbage. */
  readonly #spare = new Map<number, Page[]>()
  readonly #stored = Buffer.alloc(pageSize)
  readonly #place: Place = { segment: 0, offset: 0, size: 0 }
  #hand = 0
  #dirtyCount = 0
  readonly #use: MemoryUse = { size: 0 }
  loads = 0

  /** `capacity` in bytes. Not `writable`: what a replayed log has changed stays in memory, beside the capacity. */
  constructor(store: FrameStore, live: LiveTable, capacity: number, writable = true) {
    this.#writable = writable
    this.#store = store
    this.#live = live
    this.#capacity = capacity
  }

  get dirtyCount(): number {
    return this.#dirtyCount
  }

  newPage(level: number): Page {
    return this.#enter(this.#take(level, pageSize))
  }

  #take(level: number, capacity: number): Page {
    const spare = level === 0 ? this.#spare.get(capacity)?.pop() : undefined
    return spare ?? new Page(level, capacity, this.#use)
  }

  #enter(page: Page): Page {
    if (page.level === 0) {
      page.slot = this.#leaves.length
      this.#leaves.push(page)
    }
    this.#use.size += page.capacity
    return page
  }

  /** The child of an inner page, read from the store when it is not in memory. */
  child(parent: Page, index: number): Page {
    const found = parent.children[index]
    if (found !== undefined) {
      if (found.heat < maxHeat) found.heat += 1
      return found
    }
    const at = parent.valueAt(index) >> 2
    const page = this.#load(
      parent.words[at] as number,
      parent.words[at + 1] as number,
      parent.words[at + 2] as number,
      parent.level - 1,
    )
    page.parent = parent
    parent.children[index] = page
    return page
  }

  /** The page that stands there, of whatever level. */
  root(segment: number, offset: number, size: number): Page {
    if (size > pageSize || size < 8) throw damaged(segment, offset, `a page of ${size} bytes`)
    this.#read(segment, offset, size, this.#stored)
    const level = storedLevel(this.#stored)
    if (level === undefined) throw damaged(segment, offset, "no page")
    return this.#load(segment, offset, size, level)
  }

  #load(segment: number, offset: number, size: number, level: number): Page {
    if (size > pageSize || size === 0) throw damaged(segment, offset, `a page of ${size} bytes`)
    const page = this.#take(level, level === 0 ? capacityFor(size) : pageSize)
    try {
      this.#read(segment, offset, size, page.bytes)
      if (!page.restore(size)) throw damaged(segment, offset, `no page of level ${level}`)
    } catch (error) {
      this.#give(page)
      throw error
    }
    page.segment = segment
    page.offset = offset
    page.size = size
    page.heat = 1
    this.loads += 1
    return this.#enter(page)
  }

  #read(segment: number, offset: number, size: number, target: Buffer): void {
    const place = this.#place
    place.segment = segment
    place.offset = offset
    place.size = size
    this.#store.read("index", place, target, 0)
  }

  #give(page: Page): void {
    if (page.level > 0) return
    const { capacity } = page
    const spare = this.#spare.get(capacity) ?? []
    if (spare.length === 0) this.#spare.set(capacity, spare)
    if (spare.length >= spareCount) return
    page.reset()
    spare.push(page)
  }

  markDirty(page: Page): void {
    if (page.dirty) return
    page.dirty = true
    this.#dirtyCount += 1
    let list = this.#dirty[page.level]
    while (list === undefined) {
      this.#dirty.push([])
      list = this.#dirty[page.level]
    }
    list.push(page)
  }

  /** The page is no part of the tree any more. */
  discard(page: Page): void {
    if (page.size !== 0) this.#live.add(page.segment, -page.size)
    page.size = 0
    if (page.dirty) this.#dirtyCount -= 1
    page.dirty = false
    page.parent = undefined
    this.#leave(page)
  }

  /** Gives a dirty page a new place; its parent learns of it. */
  write(page: Page): void {
    const place = this.#place
    const size = page.store(this.#stored)
    this.#store.append("index", this.#stored, 0, size, place)
    if (page.size !== 0) this.#live.add(page.segment, -page.size)
    page.segment = place.segment
    page.offset = place.offset
    page.size = place.size
    this.#live.add(place.segment, place.size)
    page.dirty = false
    this.#dirtyCount -= 1
    const parent = page.parent
    if (parent === undefined) return
    const at = parent.valueAt(childIndexOf(parent, page)) >> 2
    parent.words[at] = page.segment
    parent.words[at + 1] = page.offset
    parent.words[at + 2] = page.size
    this.markDirty(parent)
  }

  /** Writes up to `count` dirty pages of one level, in the order in which they became dirty. False: there is none. */
  writeSome(level: number, count: number): boolean {
    const list = this.#dirty[level]
    if (list === undefined) return false
    let done = 0
    let at = 0
    while (at < list.length && done < count) {
      const page = list[at] as Page
      at += 1
      if (!page.dirty) continue
      this.write(page)
      done += 1
    }
    list.splice(0, at)
    return list.length > 0
  }

  /** Writes every dirty page, children before parents. */
  writeAll(): void {
    for (let level = 0; level < this.#dirty.length; level += 1)
      this.writeSome(level, Number.POSITIVE_INFINITY)
  }

  get needsTrim(): boolean {
    const kept = this.#writable ? 0 : this.#dirtyCount * pageSize
    return this.#use.size - kept > this.#capacity
  }

  /** Drops leaves that were not used lately until the cache has its size; dirty ones are written first. */
  trim(): void {
    let patience = (maxHeat + 2) * this.#leaves.length
    while (this.needsTrim && patience > 0) {
      patience -= 1
      if (this.#hand >= this.#leaves.length) this.#hand = 0
      const page = this.#leaves[this.#hand]
      if (page === undefined) return
      if (this.#keep(page)) this.#hand += 1
      else this.#drop(page)
    }
  }

  #keep(page: Page): boolean {
    if (page.parent === undefined) return true
    if (page.heat > 0) {
      page.heat -= 1
      if (!page.dirty) this.#shrink(page)
      return true
    }
    if (page.dirty && !this.#writable) return true
    if (page.dirty) this.write(page)
    return false
  }

  #shrink(page: Page): void {
    const { capacity, leastCapacity } = page
    if (leastCapacity === capacity) return
    const other = this.#take(0, leastCapacity)
    page.exchange(other)
    this.#give(other)
  }

  #drop(page: Page): void {
    if (page.parent !== undefined) {
      page.parent.children[childIndexOf(page.parent, page)] = undefined
      page.parent = undefined
    }
    this.#leave(page)
  }

  #leave(page: Page): void {
    this.#use.size -= page.capacity
    if (page.level > 0) return
    const last = this.#leaves.pop()
    if (last !== undefined && last !== page) {
      this.#leaves[page.slot] = last
      last.slot = page.slot
    }
    page.slot = -1
    this.#give(page)
  }
}

/** Where a child stands in its parent. */
export function childIndexOf(parent: Page, child: Page): number {
  const guess = child.count > 0 ? parent.childIndex(child.hi(0), child.lo(0)) : 0
  if (parent.children[guess] === child) return guess
  const index = parent.children.indexOf(child)
  if (index < 0) throw new Error("a page of the index is not known to its parent")
  return index
}

function damaged(segment: number, offset: number, found: string): CofferError {
  return new CofferError("integrity", `volume index: wanted a page, found ${found}`, {
    reason: "index-page",
    facts: { segment, offset },
  })
}
