import { type ByteString, displayName } from "../bytes/index.ts"
import { type Content, type DirectoryNode, type TreeNode } from "../tree/index.ts"
import { contentHash } from "./describe.ts"

export interface FileChange {
  /** As `displayName` shows it. */
  readonly path: string
  readonly change: "added" | "removed" | "changed"
  /** Of a change: what differs. */
  readonly what: readonly string[]
}

const nothing: ReadonlyMap<ByteString, TreeNode> = new Map()

/** Every place where two trees differ, in the order of the paths. Contents are compared where the sizes are equal. */
export function diffTrees(a: DirectoryNode, b: DirectoryNode): FileChange[] {
  const changes: FileChange[] = []
  const stack: [ByteString, TreeNode | undefined, TreeNode | undefined][] = [
    ["" as ByteString, a, b],
  ]
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    const [path, from, to] = top
    const change = compare(displayName(path) || "/", from, to)
    if (change !== undefined) changes.push(change)
    const left = from?.kind === "directory" ? from.children : nothing
    const right = to?.kind === "directory" ? to.children : nothing
    for (const name of new Set([...left.keys(), ...right.keys()]))
      stack.push([`${path}/${name}` as ByteString, left.get(name), right.get(name)])
  }
  return changes.toSorted((x, y) => (x.path < y.path ? -1 : 1))
}

function compare(
  path: string,
  from: TreeNode | undefined,
  to: TreeNode | undefined,
): FileChange | undefined {
  if (from === undefined) return { path, change: "added", what: [] }
  if (to === undefined) return { path, change: "removed", what: [] }
  const what = differences(from, to)
  return what.length === 0 ? undefined : { path, change: "changed", what }
}

function differences(a: TreeNode, b: TreeNode): string[] {
  if (a.kind !== b.kind) return [`kind (${a.kind}, ${b.kind})`]
  const found: string[] = []
  if (a.meta.mode !== b.meta.mode) found.push(`mode (${octal(a.meta.mode)}, ${octal(b.meta.mode)})`)
  if (a.meta.uid !== b.meta.uid || a.meta.gid !== b.meta.gid)
    found.push(`owner (${a.meta.uid}:${a.meta.gid}, ${b.meta.uid}:${b.meta.gid})`)
  if (timeOf(a) !== timeOf(b)) found.push("mtime")
  if (xattrsOf(a) !== xattrsOf(b)) found.push("xattrs")
  found.push(...specificDifferences(a, b))
  return found
}

function specificDifferences(a: TreeNode, b: TreeNode): string[] {
  if (a.kind === "file" && b.kind === "file") return contentDifference(a.content, b.content)
  if (a.kind === "symlink" && b.kind === "symlink" && a.target !== b.target)
    return [`target (${displayName(a.target)}, ${displayName(b.target)})`]
  if ("major" in a && "major" in b && (a.major !== b.major || a.minor !== b.minor))
    return [`device (${a.major}:${a.minor}, ${b.major}:${b.minor})`]
  return []
}

function octal(mode: number): string {
  return mode.toString(8).padStart(4, "0")
}

function contentDifference(a: Content, b: Content): string[] {
  if (a.size !== b.size) return [`content (${a.size} bytes, ${b.size} bytes)`]
  return a.size === 0 || contentHash(a) === contentHash(b) ? [] : ["content"]
}

function timeOf(node: TreeNode): string {
  return `${node.meta.mtime.seconds}.${node.meta.mtime.nanoseconds}`
}

function xattrsOf(node: TreeNode): string {
  return JSON.stringify(node.meta.xattrs.map(({ name, value }) => [name, value.toHex()]))
}
