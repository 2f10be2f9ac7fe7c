import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  lchownSync,
  mkdirSync,
  openSync,
  readdirSync,
  symlinkSync,
  writeSync,
} from "node:fs"
import { type ByteString, bytesOf, displayName, utf8OfByteString } from "../bytes/index.ts"
import { CofferError, fromSystem, isErrno } from "../errors.ts"
import { link, listXattrs, mknod, removeXattr, setTimes, setXattr } from "../sys/index.ts"
import { readPieces } from "./content.ts"
import type { DirectoryNode, FileNode, OnProgress, TreeNode } from "./model.ts"
import { openDirectoryFlags, pathIn } from "./system-path.ts"
import { dataSize, sortedChildren } from "./walk.ts"

export interface ExtractOptions {
  /**
   * Default `keep`, which needs root. `mine`: everything belongs to the caller; setuid, setgid and the xattrs that only
   * root can set are dropped.
   */
  readonly owners?: "keep" | "mine"
  readonly onProgress?: OnProgress
}

/**
 * Writes a tree to a directory, which is made, or must be empty. Keeps everything that the model has: owners, modes,
 * nanosecond times, xattrs, hard links, devices, holes. Each thing is made by its name in a directory that is held open,
 * so no symlink is followed, neither one of the tree nor one that somebody puts in the way. After an error the
 * directory holds a part of the tree.
 */
export function extractTree(
  root: DirectoryNode,
  target: string,
  options: ExtractOptions = {},
): void {
  const fd = openTarget(utf8OfByteString(target))
  try {
    new Extraction(root, fd, options).run()
  } finally {
    closeSync(fd)
  }
}

function openTarget(target: ByteString): number {
  const path = bytesOf(target) as Buffer
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw fromSystem(error, displayName(target))
  }
  try {
    const fd = openSync(path, openDirectoryFlags)
    if (readdirSync(pathIn(fd, "." as ByteString)).length === 0) return fd
    closeSync(fd)
  } catch (error) {
    throw fromSystem(error, displayName(target))
  }
  throw new CofferError(
    "usage",
    `${displayName(target)}: wanted a new or empty directory, found files in it`,
    { hint: "give a directory that does not exist yet", reason: "target-not-empty" },
  )
}

interface Level {
  readonly fd: number
  readonly path: ByteString
  readonly node: DirectoryNode
  readonly todo: [ByteString, TreeNode][]
}

const createFlags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW

class Extraction {
  readonly #rootFd: number
  readonly #stack: Level[] = []
  readonly #firstPlaces = new Map<TreeNode, ByteString>()
  readonly #owners: "keep" | "mine"
  readonly #onProgress: OnProgress
  readonly #total: number
  #done = 0

  constructor(root: DirectoryNode, fd: number, options: ExtractOptions) {
    this.#rootFd = fd
    this.#owners = options.owners ?? "keep"
    this.#onProgress = options.onProgress ?? (() => undefined)
    this.#total = dataSize(root)
    this.#push(fd, "" as ByteString, root)
  }

  run(): void {
    try {
      this.#attempt("/" as ByteString, () => dropInheritedAcls(this.#rootFd, "." as ByteString))
      for (let top = this.#stack.at(-1); top !== undefined; top = this.#stack.at(-1)) {
        const next = top.todo.pop()
        if (next === undefined) this.#leave(top)
        else this.#make(top, ...next)
      }
    } finally {
      for (const { fd } of this.#stack) if (fd !== this.#rootFd) closeSync(fd)
    }
  }

  #push(fd: number, path: ByteString, node: DirectoryNode): void {
    this.#stack.push({ fd, path, node, todo: sortedChildren(node).toReversed() })
  }

  #make(level: Level, name: ByteString, node: TreeNode): void {
    const path = `${level.path}/${name}` as ByteString
    this.#attempt(path, () => {
      const first = this.#firstPlaces.get(node)
      if (first !== undefined) {
        withDirectory(this.#rootFd, first, (fd, old) =>
          link(pathIn(fd, old), pathIn(level.fd, name)),
        )
        return
      }
      if (node.kind === "directory") {
        const place = pathIn(level.fd, name)
        mkdirSync(place, { mode: 0o700 })
        this.#push(openSync(place, openDirectoryFlags), path, node)
        return
      }
      this.#firstPlaces.set(node, path)
      this.#makeLeaf(level.fd, name, node)
      this.#setMeta(level.fd, name, node)
    })
  }

  // Last for directories: making their children changed the time, and needed the write permission.
  #leave(level: Level): void {
    this.#attempt(level.path === "" ? ("/" as ByteString) : level.path, () => {
      this.#setMeta(level.fd, "." as ByteString, level.node)
      if (level.fd !== this.#rootFd) closeSync(level.fd)
      this.#stack.pop()
    })
  }

  #makeLeaf(fd: number, name: ByteString, node: Exclude<TreeNode, DirectoryNode>): void {
    const place = pathIn(fd, name)
    switch (node.kind) {
      case "file":
        this.#writeFile(place, node)
        break
      case "symlink":
        symlinkSync(bytesOf(node.target) as Buffer, place)
        break
      case "block":
      case "character":
        mknod(place, node.kind, 0o600, node.major, node.minor)
        break
      case "fifo":
      case "socket":
        mknod(place, node.kind, 0o600)
        break
    }
  }

  #writeFile(place: Buffer, { content }: FileNode): void {
    const fd = openSync(place, createFlags, 0o600)
    try {
      for (const range of content.ranges) {
        for (const { bytes, position } of readPieces(content, range)) {
          writeAll(fd, bytes, position)
          this.#done += bytes.length
          this.#onProgress(this.#done, this.#total)
        }
      }
      if (fstatSync(fd).size !== content.size) ftruncateSync(fd, content.size)
    } finally {
      closeSync(fd)
    }
  }

  // The order matters: a change of owner drops capabilities and setuid, and an ACL changes the mode.
  #setMeta(fd: number, name: ByteString, node: TreeNode): void {
    const { mode, uid, gid, xattrs, mtime } = node.meta
    const place = pathIn(fd, name)
    const keep = this.#owners === "keep"
    if (keep) lchownSync(place, uid, gid)
    for (const xattr of xattrs) {
      if (keep || !needsRoot(xattr.name)) setXattr(place, bytesOf(xattr.name), xattr.value)
    }
    if (node.kind !== "symlink") changeMode(place, keep ? mode : mode & 0o1777)
    setTimes(place, { mtime })
  }

  #attempt(path: ByteString, action: () => void): void {
    try {
      action()
    } catch (error) {
      throw fromSystem(error, `write ${displayName(path)}`, hintFor(error))
    }
  }
}

// Linux's O_PATH, which node:fs does not name.
const pathFlags = 0o10000000 | constants.O_NOFOLLOW

// chmod follows a symlink; through a descriptor that only names the place it cannot.
function changeMode(place: Buffer, mode: number): void {
  const fd = openSync(place, pathFlags)
  try {
    chmodSync(`/proc/self/fd/${fd}`, mode)
  } finally {
    closeSync(fd)
  }
}

function needsRoot(xattr: ByteString): boolean {
  return xattr.startsWith("security.") || xattr.startsWith("trusted.")
}

function hintFor(error: unknown): string | undefined {
  if (isErrno(error, "EPERM")) return "owners, devices and some xattrs need root"
  if (isErrno(error, "ENOTSUP")) return "extract to a filesystem that keeps xattrs and ACLs"
  return undefined
}

// A default ACL of the directory that the caller gave would go down to everything that is made in it.
function dropInheritedAcls(fd: number, name: ByteString): void {
  const place = pathIn(fd, name)
  for (const xattr of listXattrs(place)) {
    if (Buffer.from(xattr).toString("latin1").startsWith("system.posix_acl_")) {
      removeXattr(place, xattr)
    }
  }
}

/** Calls `use` with the directory that holds `path` below `rootFd`, opened name by name, and the last name. */
function withDirectory(
  rootFd: number,
  path: ByteString,
  use: (fd: number, name: ByteString) => void,
): void {
  const names = path.slice(1).split("/") as ByteString[]
  const last = names.pop() ?? ("" as ByteString)
  let fd = rootFd
  try {
    for (const name of names) {
      const next = openSync(pathIn(fd, name), openDirectoryFlags)
      if (fd !== rootFd) closeSync(fd)
      fd = next
    }
    use(fd, last)
  } finally {
    if (fd !== rootFd) closeSync(fd)
  }
}

function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  let done = 0
  while (done < bytes.length) {
    done += writeSync(fd, bytes, done, bytes.length - done, position + done)
  }
}
