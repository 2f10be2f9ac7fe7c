import assert from "node:assert/strict"
import {
  type Anchor,
  type AnchorState,
  createStore,
  type Disk,
  type FrameStore,
  type OpenedStore,
  openStore,
  type Place,
  type Protection,
  type Recovery,
} from "../../src/volume/index.ts"

/** An anchor in memory; its history lets a test put it back to any moment. */
export class MemoryAnchor implements Anchor {
  readonly name = "test anchor"
  state: AnchorState | "new"
  moves = 0

  constructor(state: AnchorState | "new" = "new") {
    this.state = state
  }

  read(): AnchorState | "new" {
    return this.state
  }

  move(from: AnchorState | "new", to: AnchorState): boolean {
    if (same(this.state, to)) return true
    if (!same(this.state, from)) return false
    this.state = to
    this.moves += 1
    return true
  }

  close(): void {}
}

function same(a: AnchorState | "new", b: AnchorState | "new"): boolean {
  if (a === "new" || b === "new") return a === b
  return a.epoch === b.epoch && Buffer.compare(a.tag, b.tag) === 0
}

interface Item {
  readonly id: number
  readonly place: Place
}

export const key = Buffer.alloc(32, 0x42)

/** Bytes that only frame `id` has. */
export function payloadOf(id: number, size: number): Buffer {
  const out = Buffer.alloc(size)
  for (let i = 0; i < size; i += 4)
    out.writeUInt32LE((Math.imul(id + 1, 2654435761) + i) >>> 0, Math.min(i, size - 4))
  return out
}

/** What the tiny filesystem of this workload holds: numbered frames, in checkpoints and change records as JSON. */
export class Tiny {
  readonly store: FrameStore
  items = new Map<number, Place>()
  #changes: Item[] = []
  sets = 0
  #next = 0

  constructor(opened: OpenedStore) {
    this.store = opened.store
    const { items, sets } = contentOf(opened.recovery)
    this.items = items
    this.sets = sets
    this.#next = Math.max(0, ...items.keys()) + 1
  }

  put(size: number): void {
    const id = this.#next
    this.#next += 1
    const place = { segment: 0, offset: 0, size: 0 }
    this.store.append(id % 3 === 0 ? "index" : "data", payloadOf(id, size), 0, size, place)
    this.items.set(id, place)
    this.#changes.push({ id, place })
  }

  /** Returns the number of the set: the first is 1. */
  commit(sync: boolean): number {
    this.sets += 1
    const set = { set: this.sets, items: this.#changes.splice(0) }
    this.store.commit(Buffer.from(JSON.stringify(set)), sync)
    return this.sets
  }

  checkpoint(): void {
    this.#changes = []
    const items = [...this.items].map(([id, place]) => ({ id, place }))
    this.store.checkpoint(Buffer.from(JSON.stringify({ set: this.sets, items })))
  }

  /** Moves what lives in the oldest segment, and releases it. */
  compact(): void {
    const oldest = this.store.segments().find(({ sealed }) => sealed)
    if (oldest === undefined) return
    const buffer = Buffer.alloc(1024 * 1024)
    for (const [id, place] of this.items) {
      if (place.segment !== oldest.segment) continue
      const kind = id % 3 === 0 ? "index" : "data"
      this.store.read(kind, place, buffer, 0)
      const moved = { segment: 0, offset: 0, size: 0 }
      this.store.append(kind, buffer, 0, place.size, moved)
      this.items.set(id, moved)
      this.#changes.push({ id, place: moved })
    }
    this.store.release(oldest.segment)
    this.commit(false)
  }
}

function contentOf(recovery: Recovery): { items: Map<number, Place>; sets: number } {
  const items = new Map<number, Place>()
  let sets = 0
  const apply = (bytes: Uint8Array) => {
    const set = JSON.parse(Buffer.from(bytes).toString()) as { set: number; items: Item[] }
    sets = set.set
    for (const { id, place } of set.items) items.set(id, place)
  }
  if (recovery.checkpoint !== undefined) apply(recovery.checkpoint)
  for (const records of recovery.records) apply(records)
  return { items, sets }
}

/** Every frame that the state names reads back as it was written. */
export function checkContent(store: FrameStore, items: ReadonlyMap<number, Place>): void {
  const buffer = Buffer.alloc(1024 * 1024)
  for (const [id, place] of items) {
    store.read(id % 3 === 0 ? "index" : "data", place, buffer, 0)
    assert.ok(buffer.subarray(0, place.size).equals(payloadOf(id, place.size)), `frame ${id}`)
  }
}

export const settings = { segmentSize: 64 * 1024, readerGraceMs: 0 }

export function create(
  disk: Disk,
  protection: Protection,
  anchor?: Anchor,
  segmentSize = settings.segmentSize,
): Tiny {
  const options = { disk, key, protection, settings: { ...settings, segmentSize } }
  return new Tiny(createStore(anchor === undefined ? options : { ...options, anchor }))
}

export function reopen(disk: Disk, anchor?: Anchor): Tiny {
  const options = { disk, key, settings }
  return new Tiny(openStore(anchor === undefined ? options : { ...options, anchor }))
}

/** A mixed session; `acknowledged` hears of each set that was synced, after it was. */
export function session(
  tiny: Tiny,
  steps: number,
  random: () => number,
  acknowledged: (sets: number) => void,
): void {
  for (let step = 0; step < steps; step += 1) {
    const frames = Math.floor(random() * 4)
    for (let i = 0; i < frames; i += 1) tiny.put(4 + Math.floor(random() ** 3 * 12_000))
    const dice = random()
    if (dice < 0.1) {
      tiny.commit(false)
      tiny.checkpoint()
      acknowledged(tiny.sets)
    } else if (dice < 0.2) tiny.compact()
    else if (dice < 0.3) tiny.store.flush()
    else if (tiny.commit(dice < 0.7) > 0 && dice < 0.7) acknowledged(tiny.sets)
    tiny.store.tick(Date.now())
  }
}
