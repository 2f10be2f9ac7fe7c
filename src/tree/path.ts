import { type ByteString, displayName } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"

/** Linux: NAME_MAX, and one less than PATH_MAX, for one name and for a symlink's target. */
export const maxNameSize = 255
export const maxTargetSize = 4095

/** Deeper trees are refused, so that nothing that walks one can run out of stack or descriptors. */
export const maxDepth = 1024

/**
 * The names of a path: `a/b`, `/a/b` and `/a/b/` are the same, `/` and the empty path are the root. The path comes from
 * the adversary, so `.`, `..`, empty and overlong names, NUL and too great a depth are refused.
 */
export function pathNames(path: ByteString): ByteString[] {
  const inner = path.slice(path.startsWith("/") ? 1 : 0, path.endsWith("/") ? -1 : undefined)
  if (inner === "") return []
  const names = inner.split("/") as ByteString[]
  if (names.length > maxDepth) {
    throw badPath(path, "too-deep", `a depth up to ${maxDepth}`, `${names.length} names`)
  }
  for (const name of names) checkName(name, path)
  return names
}

function checkName(name: ByteString, path: ByteString): void {
  if (name === "") throw badPath(path, "bad-name", "a name between two slashes", "none")
  if (name === "." || name === "..") throw badPath(path, "bad-name", "no '.' or '..'", `'${name}'`)
  if (name.includes("\0")) throw badPath(path, "bad-name", "a name without NUL", "one with it")
  if (name.length > maxNameSize) {
    throw badPath(path, "bad-name", `names up to ${maxNameSize} bytes`, `${name.length} bytes`)
  }
}

/** A refusal of input that names the path in question. */
export function badPath(
  path: ByteString,
  reason: string,
  wanted: string,
  found: string,
): CofferError {
  const shown = shorten(displayName(path))
  return new CofferError("config", `${shown}: wanted ${wanted}, found ${found}`, {
    reason,
    facts: { path: shown },
  })
}

const maxShown = 300

function shorten(text: string): string {
  return text.length <= maxShown ? text : `${text.slice(0, maxShown)}…`
}
