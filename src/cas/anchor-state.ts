import { fromHex, toHex } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import type { AnchorState } from "../volume/index.ts"
import type { VolumeGrant } from "./configuration.ts"
import type { SignedHead } from "./head.ts"
import { decodeSeen } from "./seen.ts"
import { type Position, type VolumeRow, zeroTag } from "./volumes.ts"

// What a volume says of a state, and what the CAS says.

export function nameOf(policy: string, grant: VolumeGrant): string {
  return `CAS, volume ${policy}/${grant.name}/${grant.instance}`
}

const shownMax = 8

/**
 * The chain's newest head, which is the first of `words`, and newer ones from beyond the chain, the newest first. An
 * authorised restore says that what was signed before it counts no more: that is how people leave a loss behind.
 */
export function wordsToShow(words: readonly Uint8Array[], { restored }: VolumeGrant): SignedHead[] {
  const [first, ...rest] = words
    .map(decodeSeen)
    .filter(({ time }) => restored === undefined || time > restored.time)
  if (first === undefined) return []
  const newer = rest
    .filter(({ sequence }) => sequence > first.sequence)
    .toSorted((a, b) => b.sequence - a.sequence)
  return [first, ...newer].slice(0, shownMax)
}

/** A refusal because somebody else moved it is `false`, as `Anchor` wants it; all else is thrown. */
export function moved(call: () => unknown): boolean {
  try {
    call()
    return true
  } catch (error) {
    if (error instanceof CofferError && error.code === "rollback") return false
    throw error
  }
}

export function positionOf(state: AnchorState | "new"): Position {
  return state === "new"
    ? { sequence: 0, tag: zeroTag }
    : { sequence: state.sequence, tag: toHex(state.tag) }
}

export function nextOf(state: AnchorState) {
  return {
    ...positionOf(state),
    hint: { segment: toHex(state.salt), offset: state.offset, opening: state.epoch },
  }
}

export function stateOf(
  grant: VolumeGrant,
  position: (Position & Pick<VolumeRow, "state" | "hint">) | undefined,
): AnchorState | "new" {
  if (position === undefined || position.state === "new") return "new"
  const { sequence, tag, hint } = position
  return {
    volumeId: bytes(grant.id),
    sequence,
    tag: bytes(tag),
    epoch: hint?.opening ?? 0,
    salt: bytes(hint?.segment ?? zeroTag),
    offset: hint?.offset ?? 0,
    ...(grant.restored?.to === tag ? { restoredFrom: bytes(grant.restored.from) } : {}),
  }
}

function bytes(hex: string): Uint8Array {
  const value = fromHex(hex)
  if (value === undefined) throw new TypeError("the schema lets only hex pass")
  return value
}
