import type { ByteString } from "../../bytes/index.ts"
import type { Caller } from "../../fuse/index.ts"
import {
  type DirectoryNode,
  dataSize,
  type FileNode,
  type OnProgress,
  readPieces,
  sortedChildren,
  type TreeNode,
} from "../../tree/index.ts"
import { regularType } from "./keys.ts"
import { answerOf, inodeAt, newAttributes, noChange } from "./requests.ts"
import type { VolumeFileSystem } from "./volume-fs.ts"

const typeBits = {
  character: 0o020000,
  block: 0o060000,
  fifo: 0o010000,
  socket: 0o140000,
} as const

interface Level {
  readonly inode: number
  readonly path: ByteString
  readonly node: DirectoryNode
  readonly todo: [ByteString, TreeNode][]
}

/**
 * Writes a tree into the directory `into` of the volume, with everything that the model has; the directory gets what
 * the tree's root has. A name that is there already is an error. All is durable when this returns; after an error a part
 * of the tree may be there.
 */
export function importTree(
  fs: VolumeFileSystem,
  root: DirectoryNode,
  into: ByteString,
  onProgress: OnProgress = () => undefined,
): void {
  new Import(fs, dataSize(root), onProgress).run(root, into)
}

class Import {
  readonly #fs: VolumeFileSystem
  readonly #total: number
  readonly #onProgress: OnProgress
  readonly #linked = new Map<TreeNode, number>()
  readonly #stack: Level[] = []
  readonly #out = newAttributes()
  #done = 0

  constructor(fs: VolumeFileSystem, total: number, onProgress: OnProgress) {
    this.#fs = fs
    this.#total = total
    this.#onProgress = onProgress
  }

  run(root: DirectoryNode, into: ByteString): void {
    this.#push(inodeAt(this.#fs, into, this.#out), "" as ByteString, root)
    for (let top = this.#stack.at(-1); top !== undefined; top = this.#stack.at(-1)) {
      const next = top.todo.pop()
      if (next === undefined) {
        this.#setMeta(top.inode, top.path, top.node)
        this.#stack.pop()
      } else this.#make(top, ...next)
      this.#fs.tick(performance.now())
    }
    answerOf(this.#fs.fsync(1, false, { waiting: true, done: () => undefined }), into)
  }

  #push(inode: number, path: ByteString, node: DirectoryNode): void {
    this.#stack.push({ inode, path, node, todo: sortedChildren(node).toReversed() })
  }

  #make(level: Level, name: ByteString, node: TreeNode): void {
    const path = `${level.path}/${name}` as ByteString
    const first = this.#linked.get(node)
    if (first !== undefined) {
      answerOf(this.#fs.link(first, level.inode, name, this.#out), path)
      return
    }
    answerOf(this.#create(level.inode, name, node), path)
    const { inode } = this.#out
    if (node.kind === "directory") {
      this.#push(inode, path, node)
      return
    }
    this.#linked.set(node, inode)
    if (node.kind === "file") this.#writeFile(inode, path, node)
    this.#setMeta(inode, path, node)
  }

  #create(parent: number, name: ByteString, node: TreeNode): number {
    const caller: Caller = { uid: node.meta.uid, gid: node.meta.gid, pid: 0, umask: 0 }
    switch (node.kind) {
      case "directory":
        return this.#fs.mkdir(parent, name, 0o700, caller, this.#out)
      case "file":
        return this.#fs.mknod(parent, name, regularType | 0o600, 0, caller, this.#out)
      case "symlink":
        return this.#fs.symlink(parent, name, node.target, caller, this.#out)
      case "block":
      case "character": {
        const device = deviceOf(node.major, node.minor)
        return this.#fs.mknod(parent, name, typeBits[node.kind] | 0o600, device, caller, this.#out)
      }
      case "fifo":
      case "socket":
        return this.#fs.mknod(parent, name, typeBits[node.kind] | 0o600, 0, caller, this.#out)
    }
  }

  #writeFile(inode: number, path: ByteString, { content }: FileNode): void {
    for (const range of content.ranges)
      for (const { bytes, position } of readPieces(content, range)) {
        const source = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
        answerOf(this.#fs.write(inode, position, source, 0, source.length, false), path)
        this.#done += bytes.length
        this.#onProgress(this.#done, this.#total)
        this.#fs.tick(performance.now())
      }
    answerOf(this.#fs.setattr(inode, { ...noChange, size: content.size }, this.#out), path)
  }

  // The order matters: a change of owner drops capabilities, an ACL changes the mode, everything changes the time.
  #setMeta(inode: number, path: ByteString, { kind, meta }: TreeNode): void {
    const { uid, gid, mode, mtime, xattrs } = meta
    answerOf(this.#fs.setattr(inode, { ...noChange, uid, gid }, this.#out), path)
    for (const { name, value } of xattrs)
      answerOf(this.#fs.setxattr(inode, name, value, 0, false), path)
    const change = { ...noChange, mtime, mode: kind === "symlink" ? undefined : mode }
    answerOf(this.#fs.setattr(inode, change, this.#out), path)
  }
}

// As the kernel's `new_encode_dev`.
function deviceOf(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0
}
