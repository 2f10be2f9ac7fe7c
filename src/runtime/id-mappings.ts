import { type IdMaps, type IdRange, nobodysId, outsideId } from "../fuse/index.ts"
import type { MeasuredManifest } from "../manifest/index.ts"
import type { EngineConfig, EngineIdMapping } from "./engine-config.ts"
import { refuse } from "./refuse.ts"

/** The kernel takes no more lines. */
const mostRanges = 340

/**
 * How the container's users are called outside, where it gets a user namespace of its own; else undefined. The kernel
 * would refuse most of what is refused here, but the shield reckons with these numbers before the kernel sees them.
 */
export function planIds(config: EngineConfig): IdMaps | undefined {
  const { namespaces, uidMappings, gidMappings } = config.linux
  const asked = (namespaces ?? []).some(({ type }) => type === "user")
  const given = { uidMappings: uidMappings ?? [], gidMappings: gidMappings ?? [] }
  if (asked)
    return {
      uids: ranges("linux.uidMappings", given.uidMappings),
      gids: ranges("linux.gidMappings", given.gidMappings),
    }
  for (const [name, mappings] of Object.entries(given))
    if (mappings.length > 0)
      throw refuse(`linux.${name}`, "none without a new user namespace", describe(mappings))
  return undefined
}

function ranges(field: string, mappings: readonly EngineIdMapping[]): IdRange[] {
  if (mappings.length === 0 || mappings.length > mostRanges)
    throw refuse(field, `1 to ${mostRanges} ranges for the user namespace`, `${mappings.length}`)
  const found = mappings.map(({ containerID, hostID, size }) => ({
    inside: containerID,
    outside: hostID,
    size,
  }))
  const bad = mappings.find(
    ({ containerID, hostID, size }) =>
      !isRange(containerID, size, 2 ** 32 - 1) || !isRange(hostID, size, nobodysId),
  )
  if (bad !== undefined)
    throw refuse(field, `ranges of ids below ${nobodysId}`, JSON.stringify(bad))
  for (const side of ["inside", "outside"] as const)
    if (overlap(found, side))
      throw refuse(
        field,
        "each id once on either side",
        `ranges that overlap ${side}: ${describe(mappings)}`,
      )
  if (outsideId(found, 0) === undefined)
    throw refuse(field, "a range with the container's 0", describe(mappings))
  return found
}

function isRange(from: number, size: number, end: number): boolean {
  const whole = Number.isSafeInteger(from) && Number.isSafeInteger(size)
  return whole && from >= 0 && size > 0 && from + size <= end
}

function overlap(found: readonly IdRange[], side: "inside" | "outside"): boolean {
  const sorted = found.toSorted((a, b) => a[side] - b[side])
  return sorted.some((range, i) => {
    const next = sorted[i + 1]
    return next !== undefined && range[side] + range.size > next[side]
  })
}

function describe(mappings: readonly EngineIdMapping[]): string {
  const shown = mappings.map(({ containerID, hostID, size }) => `${containerID}:${hostID}:${size}`)
  return shown.join(" ").slice(0, 120)
}

/** The user that the manifest names must be somebody in the container. */
export function requireService({ user }: MeasuredManifest, ids: IdMaps): void {
  requireId("linux.uidMappings", ids.uids, user.uid, "the service's user")
  for (const gid of [user.gid, ...user.groups])
    requireId("linux.gidMappings", ids.gids, gid, "the service's group")
}

function requireId(field: string, found: readonly IdRange[], id: number, what: string): void {
  if (outsideId(found, id) !== undefined) return
  const shown = found.map(({ inside, size }) => `${inside} to ${inside + size - 1}`).join(", ")
  throw refuse(field, `a range with ${what} ${id}`, shown, "map more ids")
}

/** Owner and group as they are called where the mounts are made; `what` is theirs, and must not be nobody's. */
export function ownerOutside<T extends { readonly uid: number; readonly gid: number }>(
  owner: T,
  ids: IdMaps | undefined,
  what: string,
): T {
  if (ids === undefined) return owner
  requireId("linux.uidMappings", ids.uids, owner.uid, `the owner of ${what},`)
  requireId("linux.gidMappings", ids.gids, owner.gid, `the group of ${what},`)
  const [uid = 0, gid = 0] = [outsideId(ids.uids, owner.uid), outsideId(ids.gids, owner.gid)]
  return { ...owner, uid, gid }
}
