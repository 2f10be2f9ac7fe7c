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
  readonly live: number
  /** Bytes of sealed segments in which nothing is live. */
  readonly dead: number
  /** Bytes of those in which nothing is once a checkpoint has written the pages that were in them. */
  readonly moved: number
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
    let dead = 0
    let moved = 0
    let best = worthShare
    let victim: number | undefined
    let stale = false
    for (const segment of store.segments()) {
      size += segment.size
      if (!segment.sealed) continue
      const live = catalog.live.of(segment.segment)
      const isDone = this.#done.has(segment.segment)
      if (live === 0) dead += segment.size
      else if (isDone) moved += segment.size
      if (live === 0 || segment.segment > last || isDone) continue
      const share = segment.stale ? -1 : live / segment.size
      stale ||= segment.stale
      if (share >= best) continue
      best = share
      victim = segment.segment
    }
    return { size, live: catalog.live.total, dead, moved, victim, stale }
  }

  /** Does work until `end` (of `performance.now`). True: there is more. */
  run(end: number): boolean {
    if (this.#victim === undefined && !this.#begin()) return false
    this.#core.touch()
    const { store, data } = this.#core
    store.reserveUse = store.space().left.most > 0 ? "most" : "all"
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
      store.reserveUse = "none"
    }
    this.#core.settle()
    return true
  }

  // Is there enough to gain?
  #begin(): boolean {
    const now = performance.now()
    const { appended } = this.#core.data
    if (now < this.#checkAt && appended < this.#checkAppended) return false
    const { size, live, dead, victim, stale } = this.#usage()
    const garbage = size - live - dead
    const isScarce = this.#core.store.space().left.none < scarce
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
      !this.#affordable(victim) ||
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
    const { size } = this.#usage()
    if (this.#collectDead() === 0) return false
    this.#core.checkpoint()
    return this.#usage().size < size
  }

  // Copies segments within what is left of the reserve, until the next checkpoint gives back enough. How many bytes that will be.
  #collectDead(): number {
    const end = performance.now() + reclaimMs
    for (let goesOn = true; ; ) {
      const { size, live, dead, moved, victim } = this.#usage()
      const gained = dead + moved
      if (!goesOn || gained > reclaimSize || performance.now() > end) return gained
      const worth = size - live - gained > megabyte
      if (victim === undefined || !worth || !this.#affordable(victim)) return gained
      this.#choose(victim)
      while (goesOn && this.#victim !== undefined) goesOn = this.run(end)
    }
  }

  // Pages of segments that are done still wait to be written. When little is left, a quarter of it may still go for a whole segment.
  #affordable(victim: number): boolean {
    const { store, catalog } = this.#core
    let needed = catalog.live.of(victim)
    for (const segment of this.#done) needed += catalog.live.of(segment)
    const { most, all } = store.space().left
    return needed + needed / 16 < Math.max(most, all / 4)
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
