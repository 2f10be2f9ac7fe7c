import { CofferError } from "../../errors.ts"
import { extentAt, extentOverhead, newExtent } from "./extents.ts"
import { itemType } from "./keys.ts"
import { LiveTable } from "./live-table.ts"
import type { Tree } from "./tree.ts"

/** Live bytes of each segment, counted from the index alone, all of which it reads; frames of the table are not in it. */
export function countLive(tree: Tree): LiveTable {
  const live = new LiveTable()
  const extent = newExtent()
  for (let more = tree.seek(0, 0); more; more = tree.next()) {
    if (tree.hi % 16 === itemType.extent) {
      const { segment, length } = extentAt(tree, extent)
      live.add(segment, length + extentOverhead)
    }
    if (tree.cache.needsTrim) tree.trim()
  }
  tree.visitPages((segment, _offset, size) => live.add(segment, size))
  return live
}

/** The first segment of which the two say different things. */
export function differenceOf(a: LiveTable, b: LiveTable): number | undefined {
  for (const [segment, size] of a.entries()) if (b.of(segment) !== size) return segment
  for (const [segment, size] of b.entries()) if (a.of(segment) !== size) return segment
  return undefined
}

/** A count of live bytes that is wrong. */
export interface Miscount {
  readonly segment: number
  readonly wanted: number
  readonly found: number
}

/** What is reported when counts were wrong: all is well again, but it must not have happened. */
export function miscounted({ segment, found, wanted }: Miscount): CofferError {
  return new CofferError(
    "fault",
    `volume: segment ${segment}: wanted ${wanted} live bytes, found a count of ${found}; all were counted again`,
    {
      reason: "live-bytes",
      hint: "no data is lost; unless an unreleased coffer wrote this volume, please report it",
      facts: { segment, wanted, found },
    },
  )
}
