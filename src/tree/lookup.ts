import type { ByteString } from "../bytes/index.ts"
import type { DirectoryNode, TreeNode } from "./model.ts"

// As the kernel: MAXSYMLINKS.
const maxHops = 40

/**
 * The node at a path as a process with this tree as its root would find it: symlinks are followed, also the last one,
 * and `..` stops at the root. Undefined when there is none, or too many symlinks.
 */
export function lookup(root: DirectoryNode, path: ByteString): TreeNode | undefined {
  let way: DirectoryNode[] = [root]
  let hopCount = 0
  const pending = namesOf(path)
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (name === "..") {
      if (way.length > 1) way.pop()
      continue
    }
    const node = way.at(-1)?.children.get(name)
    if (node?.kind === "directory") way.push(node)
    else if (node?.kind === "symlink") {
      hopCount += 1
      if (hopCount > maxHops) return undefined
      if (node.target.startsWith("/")) way = [root]
      pending.push(...namesOf(node.target))
    } else return pending.length === 0 ? node : undefined
  }
  return way.at(-1)
}

/** In reverse, for `pop`. */
function namesOf(path: ByteString): ByteString[] {
  const names = path.split("/").filter((name) => name !== "" && name !== ".")
  return names.toReversed() as ByteString[]
}
