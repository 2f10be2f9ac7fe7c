import { type ByteString, displayName } from "../bytes/index.ts"
import {
  badPath,
  type DirectoryNode,
  maxNameSize,
  maxTargetSize,
  type TreeNode,
  walk,
} from "../tree/index.ts"
import { encodeDevice } from "./format.ts"
import { xattrFault } from "./xattrs.ts"

/** What the writer must know of a tree before it writes the first byte. */
export interface Survey {
  /** Every node once, by its inode number less one: parents before children, names in order. */
  readonly nodes: readonly TreeNode[]
  readonly inodeNumbers: ReadonlyMap<TreeNode, number>
  /** By inode number less one. */
  readonly linkCounts: Uint32Array
  /** Bytes of all files. */
  readonly contentSize: number
  /** Bytes of the largest file. */
  readonly largestFile: number
}

/** Visits every place of a tree. What the format cannot hold, or must not, is a `config` error that names the path. */
export function survey(root: DirectoryNode): Survey {
  const nodes: TreeNode[] = []
  const inodeNumbers = new Map<TreeNode, number>()
  const extraLinks = new Map<number, number>()
  let contentSize = 0
  let largestFile = 0
  for (const { path, node } of walk(root)) {
    const known = inodeNumbers.get(node)
    if (known !== undefined) {
      if (node.kind === "directory")
        throw badPath(path, "duplicate", "each directory in one place", "it in two")
      extraLinks.set(known, (extraLinks.get(known) ?? 0) + 1)
      continue
    }
    refuseUnfit(path, node)
    nodes.push(node)
    inodeNumbers.set(node, nodes.length)
    if (node.kind !== "file") continue
    contentSize += node.content.size
    largestFile = Math.max(largestFile, node.content.size)
  }
  const linkCounts = linkCountsOf(nodes, extraLinks)
  return { nodes, inodeNumbers, linkCounts, contentSize, largestFile }
}

function linkCountsOf(
  nodes: readonly TreeNode[],
  extraLinks: ReadonlyMap<number, number>,
): Uint32Array {
  const counts = new Uint32Array(nodes.length)
  for (const [i, node] of nodes.entries())
    counts[i] = node.kind === "directory" ? 2 + subdirectoryCount(node) : 1
  for (const [ino, extra] of extraLinks) counts[ino - 1] = 1 + extra
  return counts
}

function subdirectoryCount({ children }: DirectoryNode): number {
  let count = 0
  for (const child of children.values()) if (child.kind === "directory") count += 1
  return count
}

const maxId = 0xffffffff

function refuseUnfit(path: ByteString, node: TreeNode): void {
  const { uid, gid, mtime, xattrs } = node.meta
  const fault = xattrFault(xattrs) ?? specificFault(node)
  if (fault !== undefined) throw badPath(path, "unfit", ...fault)
  if (uid > maxId || gid > maxId)
    throw badPath(path, "unfit", "owners of 32 bits", `${uid} and ${gid}`)
  if (!Number.isSafeInteger(mtime.seconds))
    throw badPath(path, "unfit", "a time below 2^53 seconds", String(mtime.seconds))
}

function specificFault(node: TreeNode): readonly [wanted: string, found: string] | undefined {
  switch (node.kind) {
    case "directory":
      return nameFault(node.children.keys())
    case "symlink":
      return targetFault(node.target)
    case "block":
    case "character":
      return deviceFault(node.kind, node.major, node.minor)
    case "file":
    case "fifo":
    case "socket":
      return undefined
  }
}

function nameFault(names: Iterable<ByteString>): readonly [string, string] | undefined {
  for (const name of names) {
    const fits = name.length > 0 && name.length <= maxNameSize
    if (!fits || name === "." || name === ".." || name.includes("/") || name.includes("\0"))
      return ["names of 1 to 255 bytes, no slash, no NUL", `'${displayName(name)}'`]
  }
  return undefined
}

function targetFault(target: ByteString): readonly [string, string] | undefined {
  return target.length === 0 || target.length > maxTargetSize || target.includes("\0")
    ? [`targets of 1 to ${maxTargetSize} bytes, no NUL`, `'${displayName(target)}'`]
    : undefined
}

function deviceFault(
  kind: string,
  major: number,
  minor: number,
): readonly [string, string] | undefined {
  const numbers = `${major}:${minor}`
  // overlayfs, which stands over this filesystem, would take it for a deleted file.
  if (kind === "character" && major === 0 && minor === 0)
    return ["no character device 0:0, a whiteout of overlayfs", "one"]
  return encodeDevice(major, minor) === undefined
    ? ["device numbers below 4,096 and 1,048,576", numbers]
    : undefined
}
