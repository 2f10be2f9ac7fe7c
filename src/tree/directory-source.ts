import { type BigIntStats, lstatSync, readdirSync, readlinkSync } from "node:fs"
import {
  type ByteString,
  byteString,
  bytesOf,
  displayName,
  utf8OfByteString,
} from "../bytes/index.ts"
import { CofferError, fromSystem, isErrno } from "../errors.ts"
import { deviceParts, getXattr, listXattrs } from "../sys/index.ts"
import { DiskFile, stateOf } from "./disk-file.ts"
import type { DirectoryNode, Metadata, Timestamp, TreeNode, Xattr } from "./model.ts"
import { badPath, maxDepth } from "./path.ts"
import { withSystemPath } from "./system-path.ts"

/** Labels that the machine gives, and that say nothing about the tree. */
const machineXattrs: ReadonlySet<string> = new Set([
  "security.evm",
  "security.selinux",
  "system.cifs_acl",
  "system.nfs4_acl",
])

/** True for xattrs that a tree does not have, because the machine gives them. */
export function isMachineXattr(name: ByteString): boolean {
  return machineXattrs.has(name)
}

/**
 * The tree below a directory of this machine, with all that Linux keeps of it: owners, modes, nanosecond times, xattrs
 * with ACLs and capabilities, hard links, devices, holes. Left out are labels of the machine: `security.selinux`,
 * `security.evm` and the ACLs of network filesystems. Mounts below it are entered. Nothing but directories is opened
 * now; content is read when it is asked for, and a `CofferError` says when a file has changed since.
 */
export function directorySource(path: string): DirectoryNode {
  if (path === "") throw new CofferError("usage", "wanted a directory, found an empty path")
  return new Scan().run(utf8OfByteString(path.replace(/\/+$/, "")))
}

interface Open {
  readonly path: ByteString
  readonly names: ByteString[]
  readonly children: Map<ByteString, TreeNode>
}

class Scan {
  readonly #byInode = new Map<string, TreeNode>()
  readonly #stack: Open[] = []

  run(base: ByteString): DirectoryNode {
    // With the dot, a symlink to a directory is good enough; only here.
    const root = this.#node(`${base}/.` as ByteString)
    if (root.kind !== "directory") throw badPath(base, "not-directory", "a directory", root.kind)
    for (let top = this.#stack.at(-1); top !== undefined; top = this.#stack.at(-1)) {
      const name = top.names.pop()
      if (name === undefined) this.#stack.pop()
      else top.children.set(name, this.#node(`${top.path}/${name}` as ByteString))
    }
    return root
  }

  #node(path: ByteString): TreeNode {
    try {
      return withSystemPath(path, (systemPath) => this.#describe(path, systemPath))
    } catch (error) {
      throw fromSystem(error, displayName(path))
    }
  }

  #describe(path: ByteString, systemPath: Buffer): TreeNode {
    const stat = lstatSync(systemPath, { bigint: true })
    const shared = stat.nlink > 1n && !stat.isDirectory()
    const inode = shared ? `${stat.dev}:${stat.ino}` : ""
    const known = shared ? this.#byInode.get(inode) : undefined
    if (known !== undefined) return known
    const node = this.#fresh(path, systemPath, stat)
    if (shared) this.#byInode.set(inode, node)
    return node
  }

  #fresh(path: ByteString, systemPath: Buffer, stat: BigIntStats): TreeNode {
    const meta = metadataOf(stat, systemPath)
    if (stat.isDirectory()) return this.#enter(path, systemPath, meta)
    if (stat.isFile()) {
      // Blocks count 512 bytes. Filesystems that compress have fewer blocks and no holes: asking for them does no harm.
      const mayHaveHoles = stat.blocks * 512n < stat.size
      return { kind: "file", meta, content: new DiskFile(path, stateOf(stat), mayHaveHoles) }
    }
    if (stat.isSymbolicLink()) {
      return { kind: "symlink", meta, target: byteString(readlinkSync(systemPath, "buffer")) }
    }
    if (stat.isFIFO()) return { kind: "fifo", meta }
    if (stat.isSocket()) return { kind: "socket", meta }
    const { major, minor } = deviceParts(stat.rdev)
    return { kind: stat.isBlockDevice() ? "block" : "character", meta, major, minor }
  }

  #enter(path: ByteString, systemPath: Buffer, meta: Metadata): DirectoryNode {
    if (this.#stack.length > maxDepth) {
      throw badPath(path, "too-deep", `a depth up to ${maxDepth}`, "more")
    }
    const children = new Map<ByteString, TreeNode>()
    // As latin1 each byte is one character, which is what a ByteString is.
    const names = readdirSync(systemPath, "latin1") as ByteString[]
    const base = (path.endsWith("/.") ? path.slice(0, -2) : path) as ByteString
    this.#stack.push({ path: base, names, children })
    return { kind: "directory", meta, children }
  }
}

function metadataOf(stat: BigIntStats, systemPath: Buffer): Metadata {
  return {
    mode: stat.isSymbolicLink() ? 0o777 : Number(stat.mode & 0o7777n),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    mtime: timestamp(stat.mtimeNs),
    xattrs: xattrsOf(systemPath),
  }
}

const billion = 1_000_000_000n

function timestamp(ns: bigint): Timestamp {
  const rest = ns % billion
  const nanoseconds = rest < 0n ? rest + billion : rest
  return { seconds: Number((ns - nanoseconds) / billion), nanoseconds: Number(nanoseconds) }
}

const none: readonly Xattr[] = []

function xattrsOf(systemPath: Buffer): readonly Xattr[] {
  const names = listXattrs(systemPath)
  if (names.length === 0) return none
  const found: Xattr[] = []
  for (const bytes of names) {
    const name = byteString(bytes)
    if (isMachineXattr(name)) continue
    const value = readXattr(systemPath, name)
    if (value !== undefined) found.push({ name, value })
  }
  return found.toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

function readXattr(systemPath: Buffer, name: ByteString): Uint8Array | undefined {
  try {
    return getXattr(systemPath, bytesOf(name))
  } catch (error) {
    // Listed, but its handler has nothing to give for this node.
    if (isErrno(error, "ENOTSUP")) return undefined
    throw new CofferError("io", `read the xattr ${displayName(name)}: ${String(error)}`, {
      cause: error,
    })
  }
}
