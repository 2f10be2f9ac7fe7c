import { type ByteString, displayName, toHex } from "../bytes/index.ts"
import { Sha256 } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"
import {
  type Content,
  type DirectoryNode,
  readPieces,
  sortedChildren,
  type TreeNode,
} from "../tree/index.ts"

/** All that a path of a tree is, as JSON. Names and targets as `displayName` shows them. */
export interface NodeDescription {
  readonly kind: TreeNode["kind"]
  /** Octal, four digits. */
  readonly mode: string
  readonly uid: number
  readonly gid: number
  /** Seconds since 1970, with nine decimals. */
  readonly mtime: string
  readonly xattrs: Readonly<Record<string, string>>
  /** Of a file: bytes, and the hash of all of them. */
  readonly size?: number
  readonly sha256?: string
  readonly target?: string
  readonly device?: string
  readonly entries?: readonly string[]
}

export function describeNode(node: TreeNode): NodeDescription {
  const { mode, uid, gid, mtime, xattrs } = node.meta
  return {
    kind: node.kind,
    mode: mode.toString(8).padStart(4, "0"),
    uid,
    gid,
    mtime: `${mtime.seconds}.${String(mtime.nanoseconds).padStart(9, "0")}`,
    xattrs: Object.fromEntries(xattrs.map(({ name, value }) => [displayName(name), toHex(value)])),
    ...specifics(node),
  }
}

function specifics(node: TreeNode): Partial<NodeDescription> {
  switch (node.kind) {
    case "file":
      return { size: node.content.size, sha256: contentHash(node.content) }
    case "symlink":
      return { target: displayName(node.target) }
    case "block":
    case "character":
      return { device: `${node.major}:${node.minor}` }
    case "directory":
      return { entries: sortedChildren(node).map(([name]) => displayName(name)) }
    case "fifo":
    case "socket":
      return {}
  }
}

/** SHA-256 in hex. */
export function contentHash(content: Content): string {
  const hash = new Sha256()
  for (const { bytes } of readPieces(content, { offset: 0, size: content.size })) hash.update(bytes)
  return toHex(hash.digest())
}

/** The node at an absolute path. Symlinks on the way are not followed, and said. */
export function lookUp(root: DirectoryNode, path: ByteString): TreeNode {
  if (!path.startsWith("/")) throw notThere(path, "an absolute path")
  let node: TreeNode = root
  let seen = ""
  for (const part of path.split("/").filter((name) => name !== "") as ByteString[]) {
    if (node.kind === "symlink")
      throw notThere(path, `no symlink on the way (${seen} goes to ${displayName(node.target)})`)
    if (node.kind !== "directory") throw notThere(path, `a directory at ${seen}`)
    const child: TreeNode | undefined = node.children.get(part)
    const shown = displayName(part)
    if (child === undefined) throw notThere(path, `${shown} in ${seen === "" ? "/" : seen}`)
    seen = `${seen}/${shown}`
    node = child
  }
  return node
}

function notThere(path: ByteString, want: string): CofferError {
  const shown = displayName(path)
  return new CofferError("missing", `${shown}: wanted ${want}, found none`, {
    facts: { path: shown },
  })
}
