import { readFileSync } from "node:fs"

interface Range {
  readonly inside: number
  readonly outside: number
  readonly size: number
}

/** Who there is in a user namespace. */
export interface NamespaceIds {
  readonly uids: readonly Range[]
  readonly gids: readonly Range[]
}

const everybody = 2 ** 32 - 1

/**
 * Who there is where we run, when that is a user namespace, as with an ordinary user's engine; undefined in the first one.
 * To be user 0 says nothing: each user namespace has one. The ids are those that we see, so each is the same on both sides.
 */
export function ownUserNamespace(): NamespaceIds | undefined {
  const [uids, gids] = [rangesOf("/proc/self/uid_map"), rangesOf("/proc/self/gid_map")]
  if (isFirst(uids) && isFirst(gids)) return undefined
  return { uids: uids.map(same), gids: gids.map(same) }
}

function rangesOf(path: string): Range[] {
  const lines = readFileSync(path, "latin1").trim().split("\n")
  return lines.map((line) => {
    const [inside = 0, outside = 0, size = 0] = line.trim().split(/\s+/).map(Number)
    return { inside, outside, size }
  })
}

function isFirst([one, ...others]: readonly Range[]): boolean {
  return one?.inside === 0 && one.outside === 0 && one.size === everybody && others.length === 0
}

function same({ inside, size }: Range): Range {
  return { inside, outside: inside, size }
}
