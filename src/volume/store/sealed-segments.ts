import type { FrameKind, Place, SegmentInfo } from "../frame-store.ts"
import type { StoreItems, TableEntry, WrappedKey } from "./commit.ts"
import { closeScanned, openScanned, type VolumeContext } from "./segments.ts"
import { visitFrames } from "./visit.ts"

/** The segments of a writer's chain that are full: what a checkpoint's table says, and what is to leave it. */
export class SealedSegments {
  readonly #context: VolumeContext
  readonly #entries: Map<number, TableEntry>
  readonly #released = new Set<number>()
  #size = 0
  /** Keys of older generations, while an entry has one. */
  wrappedKeys: readonly WrappedKey[]

  constructor(
    context: VolumeContext,
    entries: ReadonlyMap<number, TableEntry>,
    wrappedKeys: readonly WrappedKey[],
  ) {
    this.#context = context
    this.#entries = new Map(entries)
    this.wrappedKeys = wrappedKeys
    for (const { end } of entries.values()) this.#size += end
  }

  get count(): number {
    return this.#entries.size
  }

  /** Bytes of all of them. */
  get size(): number {
    return this.#size
  }

  get(number: number): TableEntry | undefined {
    return this.#entries.get(number)
  }

  add(entry: TableEntry): void {
    this.#entries.set(entry.number, entry)
    this.#size += entry.end
  }

  /** The next checkpoint leaves the segment out. */
  release(number: number): void {
    if (!this.#entries.has(number) || this.#released.has(number)) throw notSealed(number)
    this.#released.add(number)
  }

  /** Numbers of those that were released; they are forgotten as such. */
  takeReleased(): number[] {
    const numbers = [...this.#released]
    this.#released.clear()
    return numbers
  }

  /** Takes entries out of the table, and returns them. */
  remove(numbers: readonly number[]): TableEntry[] {
    const gone = numbers.flatMap((number) => this.#entries.get(number) ?? [])
    for (const { number, end } of gone) {
      this.#entries.delete(number)
      this.#size -= end
    }
    return gone
  }

  generations(): Set<number> {
    return new Set([...this.#entries.values()].map(({ generation }) => generation))
  }

  /** What a checkpoint says of them. Keys that no entry needs any more are dropped. */
  items(): Pick<StoreItems, "table" | "keys"> {
    const needed = this.generations()
    this.wrappedKeys = this.wrappedKeys.filter(({ generation }) => needed.has(generation))
    const table = [...this.#entries.values()]
    return this.wrappedKeys.length === 0 ? { table } : { table, keys: this.wrappedKeys }
  }

  /** Those in use, as the filesystem sees them; `generation` is the newest key's. */
  infos(generation: number): SegmentInfo[] {
    return [...this.#entries.values()]
      .filter(({ number }) => !this.#released.has(number))
      .map((entry) => ({
        segment: entry.number,
        size: entry.end,
        sealed: true,
        stale: entry.generation !== generation,
      }))
  }

  visit(number: number, visit: (kind: FrameKind, place: Readonly<Place>) => void): void {
    const entry = this.#entries.get(number)
    if (entry === undefined) throw notSealed(number)
    const scanned = openScanned(this.#context, entry, false)
    try {
      visitFrames(scanned, entry, visit)
    } finally {
      closeScanned(this.#context, scanned)
    }
  }
}

function notSealed(number: number): TypeError {
  return new TypeError(`segment ${number} is not a sealed one in use`)
}
