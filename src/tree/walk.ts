import type { ByteString } from "../bytes/index.ts"
import type { DirectoryNode, TreeNode } from "./model.ts"

export function sortedChildren(directory: DirectoryNode): [ByteString, TreeNode][] {
  return [...directory.children].toSorted(([a], [b]) => (a < b ? -1 : 1))
}

export interface Visit {
  /** `/` for the root, else `/a/b`. */
  readonly path: ByteString
  readonly node: TreeNode
}

/** Every place of the tree, parents before children, names in the order of their bytes. A hard link is visited in each of its places. */
export function* walk(root: DirectoryNode): Generator<Visit> {
  yield { path: "/" as ByteString, node: root }
  const stack = [{ prefix: "/", entries: sortedChildren(root).toReversed() }]
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const next = top.entries.pop()
    if (next === undefined) {
      stack.pop()
      continue
    }
    const [name, node] = next
    const path = `${top.prefix}${name}` as ByteString
    yield { path, node }
    if (node.kind === "directory")
      stack.push({ prefix: `${path}/`, entries: sortedChildren(node).toReversed() })
  }
}

/** Bytes of data of all files, each once and without holes: what there is to copy. */
export function dataSize(root: DirectoryNode): number {
  const seen = new Set<TreeNode>()
  let size = 0
  for (const { node } of walk(root)) {
    if (node.kind !== "file" || seen.has(node)) continue
    seen.add(node)
    for (const range of node.content.ranges) size += range.size
  }
  return size
}
