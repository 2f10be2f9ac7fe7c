/** Ids from `inside` on, `size` of them, are those from `outside` on where the mount is made. As a line of /proc/PID/uid_map. */
export interface IdRange {
  readonly inside: number
  readonly outside: number
  readonly size: number
}

/** How the users of a container are called outside of it. */
export interface IdMaps {
  readonly uids: readonly IdRange[]
  readonly gids: readonly IdRange[]
}

/**
 * What an owner outside of the mapping is called: an id that is valid, and nobody's in the container, which sees the
 * kernel's overflow id in its place. No mapping may have it.
 */
export const nobodysId = 0xffff_fffe

/** Undefined: the container has no such id. */
export function outsideId(ranges: readonly IdRange[], id: number): number | undefined {
  for (const { inside, outside, size } of ranges)
    if (id >= inside && id < inside + size) return outside + (id - inside)
  return undefined
}

/** Undefined: it is called nothing in the container. */
export function insideId(ranges: readonly IdRange[], id: number): number | undefined {
  for (const { inside, outside, size } of ranges)
    if (id >= outside && id < outside + size) return inside + (id - outside)
  return undefined
}
