// Hot path: every node of an image goes through here.
import { alignUp, type ByteString, bytesOf } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { workerUrl } from "../sys/index.ts"
import { type DirectoryNode, type OnProgress, type TreeNode } from "../tree/index.ts"
import { BlockHasher, hashTree, type RingMemory } from "../verity/index.ts"
import { directorySize, type Entry, encodeDirectory } from "./dirents.ts"
import { storeContent } from "./file-data.ts"
import {
  blockSize,
  encodeDevice,
  encodeInode,
  encodeSuperblock,
  inodeSize,
  type Layout,
  rootOffset,
  slotSize,
  zeroAreaBlock,
  zeroAreaSize,
} from "./format.ts"
import { type ImageWorkerData, sinkTo, writeAll } from "./image-sink.ts"
import { ImageStream } from "./image-stream.ts"
import { MetadataPacker } from "./metadata-packer.ts"
import { type Survey, survey } from "./survey.ts"
import { encodeXattrs, xattrsSize } from "./xattrs.ts"

export interface WrittenBinfs {
  /** Bytes of the EROFS image, whole blocks; the hash area follows it. */
  readonly imageSize: number
  /** Bytes of the hash area. */
  readonly hashSize: number
  /** 32 bytes. */
  readonly rootHash: Uint8Array
  readonly inodeCount: number
}

export interface WriteOptions {
  readonly onProgress?: OnProgress
  /** Threads beside this one that hash and write. Default: one less than there are cores. */
  readonly workerCount?: number
  /** Bytes of content, about, when they are known: the threads of a large image begin before its tree is looked at. */
  readonly expectedSize?: number
}

/**
 * Writes a tree as an EROFS image with its hash area behind it, into an open file from `offset` on. The bytes depend on
 * the tree alone. Synchronous; memory is bounded but for the tree's names. Nothing is synced, nothing is closed.
 */
export function writeBinfs(
  root: DirectoryNode,
  fd: number,
  offset: number,
  options: WriteOptions = {},
): WrittenBinfs {
  const sink = sinkTo(fd, offset)
  const worker = (memory: RingMemory) => ({
    url: workerUrl("image", import.meta.url),
    workerData: { memory, fd, offset } satisfies ImageWorkerData,
  })
  const { workerCount, expectedSize = 0 } = options
  const count = workerCount === undefined ? {} : { workerCount }
  const hasher = new BlockHasher({ sink, worker, ...count })
  try {
    hasher.expect(expectedSize)
    const found = survey(root)
    hasher.expect(found.contentSize)
    return new Writer(found, root, fd, offset, hasher, options.onProgress).run()
  } finally {
    hasher.close()
  }
}

/** What is known of a directory before any is written: sizes fix all addresses. */
interface DirectoryPlan {
  readonly node: DirectoryNode
  readonly names: readonly ByteString[]
  readonly parent: DirectoryNode
  readonly nid: number
  readonly size: number
  /** Bytes behind the inode. */
  readonly tailSize: number
  readonly firstBlock: number
}

class Writer {
  readonly #survey: Survey
  readonly #root: DirectoryNode
  readonly #fd: number
  readonly #offset: number
  readonly #hasher: BlockHasher
  readonly #stream: ImageStream
  readonly #packer: MetadataPacker
  /** The superblock's block, and more only when the root's xattrs are large. */
  readonly #front: Buffer
  /** By inode number: the packer's place of a leaf, the nid of a directory. */
  readonly #places: Float64Array
  readonly #onProgress: OnProgress
  readonly #zeroBlock: number
  #done = 0
  #chunked = false

  constructor(
    found: Survey,
    root: DirectoryNode,
    fd: number,
    offset: number,
    hasher: BlockHasher,
    onProgress: OnProgress = () => undefined,
  ) {
    this.#survey = found
    this.#root = root
    this.#fd = fd
    this.#offset = offset
    this.#hasher = hasher
    this.#onProgress = onProgress
    const firstBlock = zeroAreaBlock(xattrsSize(root.meta.xattrs))
    this.#front = Buffer.alloc(firstBlock * blockSize)
    this.#stream = new ImageStream(firstBlock, hasher)
    this.#zeroBlock = this.#stream.nextBlock
    this.#packer = new MetadataPacker(this.#stream)
    this.#places = new Float64Array(found.nodes.length + 1)
  }

  run(): WrittenBinfs {
    this.#stream.appendZeros(zeroAreaSize(this.#survey.largestFile))
    for (const [i, node] of this.#survey.nodes.entries())
      if (node.kind !== "directory")
        this.#places[i + 1] = this.#packer.place(this.#leaf(node, i + 1))
    this.#packer.close()
    this.#writeDirectories(this.#planDirectories())
    const blockCount = this.#stream.nextBlock
    this.#stream.flush()
    const inodeCount = this.#survey.nodes.length
    encodeSuperblock(this.#front, { inodeCount, blockCount, chunked: this.#chunked })
    this.#hasher.hashNow(0, this.#front)
    writeAll(this.#fd, this.#front, this.#offset)
    const { rootHash, area } = hashTree(this.#hasher.finish())
    writeAll(this.#fd, area, this.#offset + blockCount * blockSize)
    return { imageSize: blockCount * blockSize, hashSize: area.length, rootHash, inodeCount }
  }

  /** A leaf's inode and all that stands behind it; what has blocks of its own is appended. */
  #leaf(node: Exclude<TreeNode, DirectoryNode>, ino: number): Uint8Array {
    const room = blockSize - headSize(node)
    switch (node.kind) {
      case "file": {
        const { size } = node.content
        const data = storeContent(this.#stream, node.content, room, this.#zeroBlock, (read) =>
          this.#progress(read),
        )
        if (data.layout === "chunks") this.#chunked = true
        return this.#inode(node, ino, { ...data, size })
      }
      case "symlink": {
        const target = bytesOf(node.target)
        const { length: size } = target
        if (size <= room)
          return this.#inode(node, ino, { layout: "inline", u: 0, behind: target, size })
        const u = this.#stream.nextBlock
        this.#stream.append(target)
        return this.#inode(node, ino, { layout: "plain", u, behind: nothing, size })
      }
      case "block":
      case "character": {
        const u = encodeDevice(node.major, node.minor) ?? 0
        return this.#inode(node, ino, { layout: "plain", u, behind: nothing, size: 0 })
      }
      case "fifo":
      case "socket":
        return this.#inode(node, ino, { layout: "plain", u: 0, behind: nothing, size: 0 })
    }
  }

  #inode(
    node: TreeNode,
    ino: number,
    data: { layout: Layout; u: number; behind: Uint8Array; size: number },
  ): Uint8Array {
    const { mode, uid, gid, mtime, xattrs } = node.meta
    const { layout, u, behind, size } = data
    const xattrSize = xattrsSize(xattrs)
    const whole = inodeSize + xattrSize + behind.length
    const out = whole <= blockSize ? scratch.subarray(0, whole).fill(0) : Buffer.alloc(whole)
    const linkCount = this.#survey.linkCounts[ino - 1] ?? 0
    const times = { seconds: mtime.seconds, nanoseconds: mtime.nanoseconds }
    const owner = { mode, uid, gid, ...times, linkCount }
    encodeInode(out, { kind: node.kind, layout, xattrSize, size, u, ino, ...owner })
    if (xattrSize > 0) encodeXattrs(out.subarray(inodeSize, inodeSize + xattrSize), xattrs)
    out.set(behind, inodeSize + xattrSize)
    return out
  }

  /** Gives every directory its number and its blocks: first the inodes in order, then the data blocks in order. */
  #planDirectories(): readonly DirectoryPlan[] {
    const plans: Omit<DirectoryPlan, "firstBlock">[] = []
    const parents = new Map<DirectoryNode, DirectoryNode>([[this.#root, this.#root]])
    let next = this.#stream.nextBlock * blockSize
    for (const node of this.#survey.nodes) {
      if (node.kind !== "directory") continue
      for (const child of node.children.values())
        if (child.kind === "directory") parents.set(child, node)
      const names = sortedNames(node)
      const size = directorySize(names)
      const isRoot = node === this.#root
      const head = headSize(node)
      const room = blockSize - head - (isRoot ? rootOffset : 0)
      const tailSize = size % blockSize <= room ? size % blockSize : 0
      const at = isRoot ? rootOffset : placeAt(next, head + tailSize)
      if (!isRoot) next = alignUp(at + head + tailSize, slotSize)
      const nid = at / slotSize
      this.#places[this.#ino(node)] = nid
      plans.push({ node, names, parent: parents.get(node) ?? node, nid, size, tailSize })
    }
    let block = alignUp(next, blockSize) / blockSize
    return plans.map((plan) => {
      const blocks = Math.ceil((plan.size - plan.tailSize) / blockSize)
      const firstBlock = blocks === 0 ? 0 : block
      block += blocks
      return { ...plan, firstBlock }
    })
  }

  #writeDirectories(plans: readonly DirectoryPlan[]): void {
    let block = Buffer.alloc(0)
    let first = this.#stream.nextBlock
    for (const plan of plans) {
      const behind = this.#encode(plan).subarray(plan.size - plan.tailSize)
      const layout = plan.tailSize > 0 ? "inline" : "plain"
      const data = { layout, u: plan.firstBlock, behind, size: plan.size } as const
      const inode = this.#inode(plan.node, this.#ino(plan.node), data)
      const at = plan.nid * slotSize
      if (at === rootOffset) {
        this.#front.set(inode, rootOffset)
        continue
      }
      if (at >= first * blockSize + block.length) {
        this.#stream.append(block)
        first = this.#stream.nextBlock
        block = Buffer.alloc(alignUp(inode.length, blockSize))
      }
      block.set(inode, at - first * blockSize)
    }
    this.#stream.append(block)
    for (const plan of plans)
      if (plan.size > plan.tailSize)
        this.#stream.append(this.#encode(plan).subarray(0, plan.size - plan.tailSize))
  }

  #encode({ node, names, parent, nid, size }: DirectoryPlan): Buffer {
    const entries = names.map((name): Entry => {
      if (name === ".") return { name, nid, kind: "directory" }
      if (name === "..") return { name, nid: this.#nid(parent), kind: "directory" }
      const child = node.children.get(name)
      if (child === undefined)
        throw new CofferError("fault", "a directory changed while it was written")
      return { name, nid: this.#nid(child), kind: child.kind }
    })
    return encodeDirectory(entries, size)
  }

  #nid(node: TreeNode): number {
    const place = this.#places[this.#ino(node)] ?? 0
    return node.kind === "directory" ? place : this.#packer.nidOf(place)
  }

  #ino(node: TreeNode): number {
    return this.#survey.inodeNumbers.get(node) ?? 0
  }

  #progress(read: number): void {
    this.#done += read
    this.#onProgress(this.#done, this.#survey.contentSize)
  }
}

const nothing = new Uint8Array(0)
/** Where an inode is put together that fits a block; whoever gets it copies it at once. */
const scratch = Buffer.alloc(blockSize)

/** Bytes of an inode with its xattrs. */
function headSize(node: TreeNode): number {
  return inodeSize + xattrsSize(node.meta.xattrs)
}

/** Where `size` bytes go that must not cross a block, at or after `next`; what is larger than a block begins at one. */
function placeAt(next: number, size: number): number {
  const room = blockSize - (next % blockSize)
  return size <= room ? next : alignUp(next, blockSize)
}

function sortedNames(node: DirectoryNode): ByteString[] {
  const names = [".", ".."] as ByteString[]
  for (const name of node.children.keys()) names.push(name)
  return names.toSorted()
}
