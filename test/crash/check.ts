import assert from "node:assert/strict"
import type { AnchorState } from "../../src/volume/index.ts"
import { afterCut, type DiskEvent, RecordingDisk, seeded } from "./recording-disk.ts"
import { checkContent, create, MemoryAnchor, reopen, session } from "./workload.ts"

export interface Recorded {
  readonly events: readonly DiskEvent[]
  /** What the anchor held when `events` had that length. */
  readonly anchors: readonly { readonly at: number; readonly state: AnchorState }[]
}

/** Three sessions, the second ended by a kill. */
export function record(seed: number, anchored: boolean): Recorded {
  const disk = new RecordingDisk()
  const random = seeded(seed)
  const anchors: { at: number; state: AnchorState }[] = []
  class Noted extends MemoryAnchor {
    override move(from: AnchorState | "new", to: AnchorState): boolean {
      const moved = super.move(from, to)
      if (moved) anchors.push({ at: disk.events.length, state: to })
      return moved
    }
  }
  const anchor = anchored ? new Noted() : undefined
  const note = (sets: number) => disk.note(String(sets))
  const first = create(disk, seed % 2 === 0 ? "encrypted" : "authenticated", anchor)
  session(first, 12, random, note)
  first.store.close()
  session(reopen(disk, anchor), 12, random, note)
  const last = reopen(disk, anchor)
  session(last, 12, random, note)
  return { events: disk.events, anchors }
}

function promisedAt(events: readonly DiskEvent[], count: number): number {
  const notes = events
    .slice(0, count)
    .flatMap((event) => (event.kind === "note" ? [event.text] : []))
  return Number(notes.at(-1) ?? 0)
}

/** Reopens what the cut left and checks it; then works on it and reopens it once more. */
export function checkCut(
  recorded: Recorded,
  count: number,
  choose: () => boolean,
  anchored: boolean,
): void {
  const { events, anchors } = recorded
  const files = afterCut(events, count, choose)
  const held = anchors.findLast(({ at }) => at <= count)?.state
  if (held === undefined && anchored) return // the volume was not made yet
  const anchor = held === undefined ? undefined : new MemoryAnchor(held)
  const disk = new RecordingDisk(files)
  const tiny = reopen(disk, anchor)
  assert.ok(tiny.sets >= promisedAt(events, count), `${tiny.sets} sets`)
  checkContent(tiny.store, tiny.items)
  session(tiny, 2, seeded(count), () => undefined)
  const kept = tiny.sets
  tiny.store.close()
  assert.equal(disk.openCount, 0)
  const again = reopen(disk, anchor)
  assert.equal(again.sets, kept)
  checkContent(again.store, again.items)
  again.store.close()
}

/** The volume exists from the first note on. */
export function firstCut(events: readonly DiskEvent[]): number {
  return events.findIndex(({ kind }) => kind === "note")
}

/** One random moment, and a random share of what was not synced, in any order and torn at any sector. */
export function checkReordering(seed: number, anchored: boolean): void {
  const recorded = record(seed % 20, anchored)
  const random = seeded(seed)
  const first = firstCut(recorded.events)
  const at = first + Math.floor(random() * (recorded.events.length - first + 1))
  const share = random()
  try {
    checkCut(recorded, at, () => random() < share, anchored)
  } catch (error) {
    throw new Error(`seed ${seed}, cut at ${at}`, { cause: error })
  }
}
