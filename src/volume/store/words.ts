import { CofferError } from "../../errors.ts"
import type { Anchor } from "./anchor.ts"
import { commitAt } from "./chain.ts"
import { segmentHeaderSize, segmentName } from "./format.ts"
import { readSegmentHeader } from "./recover.ts"
import type { Recovered } from "./replay.ts"
import { closeScanned, openScanned, type VolumeContext } from "./segments.ts"

/**
 * An anchor whose keeper was put back to an older state names an older commit, and from there no chain leads to what was
 * written later: it looks like a dead branch. But each segment begins with the keeper's newest word of its time, so the
 * keeper is shown the chain's newest word, and those of the segments that the chain does not name.
 */
export function requireNotBehind(
  anchor: Anchor | undefined,
  context: VolumeContext,
  recovered: Recovered,
): void {
  if (anchor?.requireNotBehind === undefined || context.keys === undefined) return
  const named = new Set([...recovered.table.values()].map(({ salt }) => segmentName(salt)))
  const others = context.disk.segments().filter((name) => !named.has(name))
  const words = others.flatMap((name) => firstWord(context, name) ?? [])
  const { seen } = recovered
  anchor.requireNotBehind(seen === undefined ? words : [seen, ...words])
}

/** Undefined where nothing verifies: the adversary can put any file there. */
function firstWord(context: VolumeContext, name: string): Uint8Array | undefined {
  const id = readSegmentHeader(context, name)
  if (id === undefined || segmentName(id.salt) !== name) return undefined
  if (context.keys?.has(id.generation) !== true) return undefined
  try {
    const segment = openScanned(context, id, false)
    try {
      return commitAt(segment, segmentHeaderSize)?.commit.items.seen
    } finally {
      closeScanned(context, segment)
    }
  } catch (error) {
    if (error instanceof CofferError && error.code === "integrity") return undefined
    throw error
  }
}
