import type { FrameKind, Place } from "../frame-store.ts"
import type { Core } from "./core.ts"
import { maxPayload } from "./data.ts"
import { e, errnoOf } from "./errno.ts"
import { extentAt, newExtent } from "./extents.ts"
import { itemType, keyOf } from "./keys.ts"
import { type Owner, ownersOf } from "./owners.ts"
import { pageSize } from "./page.ts"

const megabyte = 1024 * 1024
/** Bytes that nothing needs, beside as many as are live: at `least` compaction begins, at `most` it is in a hurry. */
const leastGarbage = 16 * megabyte
const mostGarbage = 28 * megabyte
/** Dead segments wait for a checkpoint; so much of them calls for one. */
const deadLimit = 16 * megabyte
/** Segments with a greater share of live bytes stay: moving them, with its log, gains too little. */
const worthShare = 0.9
/** What there is to gain is looked at after so long, or so many bytes: a fast disk takes much in that time. */
const checkMs = 100
const checkSize = 4 * megabyte
/** With less free space than this, garbage is collected before it is as much as that. */
const scarce = 256 * megabyte
const scarceGarbage = 8 * megabyte
/** What one attempt on a full disk gains, and how long it may take. */
const reclaimSize = 8 * megabyte
const reclaimMs = 500
const blockedMs = 5000

interface Victim {
  readonly segment: number
  readonly frames: readonly { readonly kind: FrameKind; readonly place: Readonly<Place> }[]
  next: number
}

interface Usage {
  readonly size: number
  /** The largest segment. */
  readonly largest: number
  readonly live: number
  /** Bytes of sealed segments in which nothing is live. */
  readonly dead: number
  readonly victim: number | undefined
  readonly stale: boolean
}

/**
 * Copies what is live out of segments that are mostly dead; they are given back with the next checkpoint. The size of
 * the store stays below twice the live bytes and 64 MiB. Each step is short and leaves the filesystem whole.
 */
export class Compaction {
  readonly #core: Core
  readonly #payload = Buffer.alloc(Math.max(maxPayload, pageSize))
  readonly #row = newExtent()
  #victim: Victim | undefined
  /** Segments that are done, until a checkpoint has written the pages that were in them. */
  readonly #done = new Set<number>()
  #checkpoints = 0
  #checkAt = 0
  #checkAppended = 0
  #hurry = false

  constructor(core: Core) {
    this.#core = core
  }

  /** True when space is short: longer slices, please. */
  get hurry(): boolean {
    return this.#hurry
  }

  #usage(last = Number.POSITIVE_INFINITY): Usage {
    const { store, catalog, checkpoints } = this.#core
    if (this.#checkpoints !== checkpoints) this.#done.clear()
    this.#checkpoints = checkpoints
    let size = 0
    let largest = 0
    let dead = 0
    let best = worthShare
    let victim: number | undefined
    let stale = false
    for (const segment of store.segments()) {
      size += segment.size
      largest = Math.max(largest, segment.size)
      if (!segment.sealed) continue
      const live = catalog.live.of(segment.segment)
      if (live === 0) dead += segment.size
      if (live === 0 || segment.segment > last || this.#done.has(segment.segment)) continue
      const share = segment.stale ? -1 : live / segment.size
      stale ||= segment.stale
      if (share >= best) continue
      best = share
      victim = segment.segment
    }
    return { size, largest, live: catalog.live.total, dead, victim, stale }
  }

  /** Does work until `end` (of `performance.now`). True: there is more. */
  run(end: number): boolean {
    if (this.#victim === undefined && !this.#begin()) return false
    this.#core.touch()
    const { store, data } = this.#core
    store.useReserve = true
    try {
      while (this.#victim !== undefined) {
        if (this.#stepFrame(this.#victim)) this.#finish(this.#victim)
        if (performance.now() > end) break
      }
      if (this.#victim === undefined) data.settle(true)
    } catch (error) {
      // The reserve is used up: what was copied is whole, the rest stays where it is.
      if (errnoOf(error) !== e.ENOSPC) throw error
      this.#victim = undefined
      this.#checkAt = performance.now() + blockedMs
      this.#checkAppended = Number.POSITIVE_INFINITY
      return false
    } finally {
      store.useReserve = false
    }
    this.#core.settle()
    return true
  }

  // Is there enough to gain?
  #begin(): boolean {
    const now = performance.now()
    const { appended } = this.#core.data
    if (now < this.#checkAt && appended < this.#checkAppended) return false
    const usage = this.#usage()
    const { size, live, dead, victim, stale } = usage
    const garbage = size - live - dead
    const isScarce = this.#core.store.space().free < scarce
    const allowed = isScarce ? live * 0.1 : live * 0.8
    const least = isScarce ? scarceGarbage : leastGarbage
    this.#hurry = garbage > allowed + mostGarbage
    if (dead > deadLimit && dead > live / 8) {
      this.#core.checkpoint()
      return true
    }
    if (dead > scarceGarbage && isScarce) {
      this.#core.checkpoint()
      return true
    }
    if (
      victim === undefined ||
      !this.#affordable(victim, usage, 0) ||
      !(stale || garbage > allowed + least)
    ) {
      this.#checkAt = now + checkMs
      this.#checkAppended = appended + checkSize
      return false
    }
    this.#choose(victim)
    return true
  }

  #choose(segment: number): void {
    const frames: { kind: FrameKind; place: Readonly<Place> }[] = []
    this.#core.store.frames(segment, (kind, place) => {
      if (kind !== "commit") frames.push({ kind, place: { ...place } })
    })
    this.#victim = { segment, frames, next: 0 }
  }

  // True: that was the last one.
  #stepFrame(victim: Victim): boolean {
    const frame = victim.frames[victim.next]
    victim.next += 1
    if (frame === undefined) return true
    if (this.#core.catalog.live.of(victim.segment) === 0) return true
    if (frame.kind === "index") this.#movePage(frame.place)
    else this.#moveData(frame.place)
    return false
  }

  #finish(victim: Victim): void {
    this.#core.data.settle(true)
    this.#done.add(victim.segment)
    this.#victim = undefined
    this.#checkAt = 0
  }

  // A page of the tree that stands there becomes dirty: the next checkpoint writes it elsewhere.
  #movePage(place: Readonly<Place>): void {
    if (place.size > pageSize) return
    const { store, catalog } = this.#core
    store.read("index", place, this.#payload, 0)
    catalog.tree.displace(this.#payload, place)
    if (catalog.tree.cache.needsTrim) catalog.tree.cache.trim()
  }

  #moveData(place: Readonly<Place>): void {
    const { store } = this.#core
    if (place.size > this.#payload.length) return
    store.read("data", place, this.#payload, 0)
    for (const owner of ownersOf(this.#payload, place.size) ?? []) this.#moveOwned(owner, place)
  }

  // Only what the index still says to be in this frame is live.
  #moveOwned(owner: Owner, place: Readonly<Place>): void {
    const { data } = this.#core
    const end = owner.offset + owner.length
    data.settleRange(owner.inode, owner.offset, end)
    for (const [from, to] of this.#livePieces(owner, end, place))
      data.write(owner.inode, from, this.#payload, owner.inner + from - owner.offset, to - from)
  }

  #livePieces(owner: Owner, end: number, place: Readonly<Place>): [from: number, to: number][] {
    const { tree } = this.#core.catalog
    const hi = keyOf(owner.inode, itemType.extent)
    const pieces: [number, number][] = []
    let more = tree.floor(hi, owner.offset) && tree.hi === hi ? true : tree.seek(hi, owner.offset)
    for (; more && tree.hi === hi && tree.lo < end; more = tree.next()) {
      const row = extentAt(tree, this.#row)
      if (row.segment !== place.segment || row.size !== place.size) continue
      const frame = frameIndex(place.offset - row.offset, row.stride)
      const { dataSize } = row
      // The file's range that this frame holds, as this extent sees it.
      const start = tree.lo + frame * dataSize - row.inner
      if (frame < 0 || start !== owner.offset - owner.inner) continue
      const from = Math.max(start, tree.lo, owner.offset)
      const to = Math.min(start + dataSize, tree.lo + row.length, end)
      if (from < to) pieces.push([from, to])
    }
    return pieces
  }

  /** The disk is full: gives back what can be given back now. False: nothing was gained. */
  reclaim(): boolean {
    const core = this.#core
    const { size, dead } = this.#usage()
    if (dead === 0 && !this.#collectDead()) return false
    core.checkpoint()
    return this.#usage().size < size
  }

  // Copies segments within what is left of the reserve, until enough of them are dead.
  #collectDead(): boolean {
    const end = performance.now() + reclaimMs
    const { data } = this.#core
    const start = data.appended
    for (;;) {
      const usage = this.#usage()
      const { size, live, dead, victim } = usage
      if (dead > reclaimSize || performance.now() > end) return true
      const worth = size - live - dead > megabyte
      const spent = data.appended - start
      if (victim === undefined || !worth || !this.#affordable(victim, usage, spent)) return dead > 0
      this.#choose(victim)
      while (this.#victim !== undefined) this.run(end)
    }
  }

  // The store keeps an eighth of its size in reserve, 2 to 32 MiB and at most a segment; commits need some of it.
  #affordable(victim: number, { size, largest }: Usage, spent: number): boolean {
    const most = Math.min(32 * megabyte, Math.max(2 * megabyte, largest))
    const reserve = Math.min(most, Math.max(2 * megabyte, size / 8))
    const { free } = this.#core.store.space()
    return this.#core.catalog.live.of(victim) + spent < free + reserve * 0.75
  }

  /** Compacts everything that is worth it, at once: the work of `coffer volume compact`. */
  runAll(onStep: (size: number, live: number) => void): void {
    this.#core.recount()
    this.#core.checkpoint()
    // What this writes itself is not looked at again.
    const last = Math.max(...this.#core.store.segments().map(({ segment }) => segment))
    for (;;) {
      const { size, live, victim } = this.#usage(last)
      onStep(size, live)
      if (victim === undefined) break
      this.#choose(victim)
      while (this.#victim !== undefined) this.run(performance.now() + 50)
    }
    this.#core.checkpoint()
    const { size, live } = this.#usage()
    onStep(size, live)
  }
}

// Which frame of a row stands `step` bytes after the first; -1: none of this row.
function frameIndex(step: number, stride: number): number {
  if (step === 0) return 0
  return stride > 0 && step > 0 && step % stride === 0 ? step / stride : -1
}
