import { type ByteString, displayName } from "../bytes/index.ts"
import type { DirectoryNode, Metadata, TreeNode } from "./model.ts"
import { plainDirectory } from "./model.ts"
import { badPath, maxDepth, maxNameSize, pathNames } from "./path.ts"

export type LeafNode = Exclude<TreeNode, DirectoryNode>

export interface TreeBuilderOptions {
  /**
   * What a second entry for a path does. `refuse`: an error, but for a directory that was only implied so far.
   * `replace`: the later one wins, and a directory over a directory keeps the children.
   */
  readonly duplicates: "refuse" | "replace"
  /** What a symlink on the way to a path does. `refuse`: an error. `resolve`: it is followed, never out of the root. */
  readonly parentSymlinks: "refuse" | "resolve"
  /** What may be added in all; builders that share one, as those of an image's layers, use it up together. */
  readonly allowance?: TreeAllowance
}

const maxPlaces = 2_097_152
const maxBytes = 1 << 29

/** Bounds of memory and time for input that comes from the adversary: a tar of a megabyte can describe a tree of terabytes. */
export class TreeAllowance {
  /** Places, implied parents included. */
  places = maxPlaces
  /** Bytes of names, symlink targets and xattrs. */
  bytes = maxBytes
  /** Names that symlinks on the way to places lead through. */
  followed = 1 << 26
}

interface Building {
  readonly kind: "directory"
  meta: Metadata
  readonly children: Map<ByteString, TreeNode>
  /** Made on the way to something else; an entry of its own may still come. */
  implied: boolean
}

// As the kernel: MAXSYMLINKS.
const maxHops = 40

/**
 * Builds a tree from paths that may come from the adversary. Every path is checked; what is not a tree is a `config`
 * error that names the path. Paths are given as `walk` gives them, with or without the leading slash.
 */
export class TreeBuilder {
  readonly #options: TreeBuilderOptions
  readonly #allowance: TreeAllowance
  readonly #root: Building = {
    kind: "directory",
    meta: plainDirectory,
    children: new Map(),
    implied: true,
  }
  /** Directories of this builder, which it may change; others are copied before they are. */
  readonly #own = new WeakSet<TreeNode>([this.#root])
  #finished = false

  /** With a `base`, begins with its content; `base` itself stays as it is. */
  constructor(options: TreeBuilderOptions, base?: DirectoryNode) {
    this.#options = options
    this.#allowance = options.allowance ?? new TreeAllowance()
    if (base === undefined) return
    this.#root.meta = base.meta
    this.#root.implied = false
    for (const [name, child] of base.children) this.#root.children.set(name, child)
  }

  /** Adds a file, symlink or special node; parents that are not there are made: mode 0755, 0:0, time 0. */
  put(path: ByteString, node: LeafNode): void {
    const { parent, name } = this.#place(path)
    const old = parent.children.get(name)
    if (old !== undefined) this.#refuseDuplicate(path, old, node)
    this.#count(path, name, node.meta, node.kind === "symlink" ? node.target.length : 0)
    parent.children.set(name, node)
  }

  /** Adds an empty directory, or gives its metadata to one that is there. */
  putDirectory(path: ByteString, meta: Metadata): void {
    if (this.#finished) throw new TypeError("the tree is finished")
    const names = pathNames(path)
    const last = names.pop()
    const found = last === undefined ? this.#root : this.#child(this.#descend(names, path), last)
    if (found === undefined || found.kind !== "directory") {
      if (found !== undefined) this.#refuseDuplicate(path, found, undefined)
      const parent = this.#descend(names, path)
      this.#count(path, last ?? ("" as ByteString), meta)
      if (last !== undefined) parent.children.set(last, this.#directory(meta, false))
      return
    }
    const own = found as Building
    if (!own.implied && this.#options.duplicates === "refuse") {
      throw badPath(path, "duplicate", "each path once", "a second directory entry")
    }
    own.meta = meta
    own.implied = false
  }

  /** Another name for the file, symlink or special node at `target`. */
  link(path: ByteString, target: ByteString): void {
    const node = this.get(target)
    if (node === undefined || node.kind === "directory") {
      const found = node === undefined ? "nothing" : "a directory"
      throw badPath(path, "bad-link", `a file to link to at '${displayName(target)}'`, found)
    }
    const { parent, name } = this.#place(path)
    const old = parent.children.get(name)
    if (old !== undefined) this.#refuseDuplicate(path, old, node)
    this.#count(path, name)
    parent.children.set(name, node)
  }

  /** The node at a path, a symlink itself; undefined when there is none. */
  get(path: ByteString): TreeNode | undefined {
    const names = pathNames(path)
    const last = names.pop()
    if (last === undefined) return this.#root
    return this.#find(names, path)?.children.get(last)
  }

  /** Removes what is at a path with all below it; false when there is nothing. */
  remove(path: ByteString): boolean {
    const names = pathNames(path)
    const last = names.pop()
    if (last === undefined) throw badPath(path, "bad-path", "a path below the root", "the root")
    if (this.#find(names, path)?.children.has(last) !== true) return false
    return this.#descend(names, path).children.delete(last)
  }

  /** Removes all children of the directory at a path; false when there is no directory. */
  clear(path: ByteString): boolean {
    const names = pathNames(path)
    if (this.#find(names, path) === undefined) return false
    this.#descend(names, path).children.clear()
    return true
  }

  /** The tree; the builder is used up. */
  finish(): DirectoryNode {
    this.#finished = true
    return this.#root
  }

  #place(path: ByteString): { readonly parent: Building; readonly name: ByteString } {
    const names = pathNames(path)
    const name = names.pop()
    if (name === undefined) throw badPath(path, "conflict", "a directory as the root", "a file")
    return { parent: this.#descend(names, path), name }
  }

  #refuseDuplicate(path: ByteString, old: TreeNode, node: LeafNode | undefined): void {
    if (this.#options.duplicates === "replace") return
    const added = node?.kind ?? "directory"
    if (old.kind === added) throw badPath(path, "duplicate", "each path once", `a second ${added}`)
    throw badPath(path, "conflict", "each path once", `a ${old.kind} and a ${added}`)
  }

  #count(path: ByteString, name: ByteString, meta?: Metadata, targetSize = 0): void {
    const left = this.#allowance
    left.places -= 1
    left.bytes -= name.length + targetSize
    for (const xattr of meta?.xattrs ?? []) left.bytes -= xattr.name.length + xattr.value.length
    if (left.places < 0) throw badPath(path, "too-many", `at most ${maxPlaces} paths`, "more")
    if (left.bytes < 0) {
      const wanted = `at most ${maxBytes} bytes of names, symlinks and xattrs`
      throw badPath(path, "too-many", wanted, "more")
    }
  }

  #directory(meta: Metadata, implied: boolean): Building {
    const made: Building = { kind: "directory", meta, children: new Map(), implied }
    this.#own.add(made)
    return made
  }

  /** A child; a directory is made ours first, so that it may be changed. */
  #child(parent: Building, name: ByteString): TreeNode | undefined {
    const found = parent.children.get(name)
    if (found?.kind !== "directory" || this.#own.has(found)) return found
    const copy = this.#directory(found.meta, false)
    for (const [childName, child] of found.children) copy.children.set(childName, child)
    parent.children.set(name, copy)
    return copy
  }

  /** The directory at the end of `names`, made where it is not there. */
  #descend(names: readonly ByteString[], path: ByteString): Building {
    if (this.#finished) throw new TypeError("the tree is finished")
    const step = (parent: Building, name: ByteString): TreeNode => {
      const found = this.#child(parent, name)
      if (found !== undefined) return found
      this.#count(path, name)
      const made = this.#directory(plainDirectory, true)
      parent.children.set(name, made)
      return made
    }
    return this.#walk(names, path, step) as Building
  }

  /** The directory at the end of `names`, if there is one; changes nothing. */
  #find(names: readonly ByteString[], path: ByteString): DirectoryNode | undefined {
    return this.#walk(names, path, (parent, name) => {
      const child = parent.children.get(name)
      return child?.kind === "directory" || child?.kind === "symlink" ? child : undefined
    })
  }

  #walk(
    names: readonly ByteString[],
    path: ByteString,
    step: (parent: Building, name: ByteString) => TreeNode | undefined,
  ): DirectoryNode | undefined {
    let way: Building[] = [this.#root]
    let hopCount = 0
    const pending = names.toReversed()
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      if (name === "..") {
        if (way.length > 1) way.pop()
        continue
      }
      const next = step(way.at(-1) ?? this.#root, name)
      if (next === undefined) return undefined
      if (next.kind === "directory") way.push(next as Building)
      else {
        hopCount += 1
        if (next.kind === "symlink" && next.target.startsWith("/")) way = [this.#root]
        pending.push(...this.#targetNames(next, path, hopCount))
      }
      if (way.length > maxDepth)
        throw badPath(path, "too-deep", `a depth up to ${maxDepth}`, "more")
    }
    return way.at(-1)
  }

  // A symlink comes from the adversary: it is followed by us, in the tree, and `..` stops at the root.
  #targetNames(node: LeafNode, path: ByteString, hopCount: number): ByteString[] {
    if (node.kind !== "symlink") {
      throw badPath(path, "conflict", "directories on the way to it", `a ${node.kind}`)
    }
    if (this.#options.parentSymlinks === "refuse") {
      throw badPath(path, "through-symlink", "directories on the way to it", "a symlink")
    }
    if (hopCount > maxHops) throw badPath(path, "symlink-loop", `${maxHops} symlinks`, "more")
    const names = node.target.split("/").filter((name) => name !== "" && name !== ".")
    const long = names.find((name) => name.length > maxNameSize)
    if (long !== undefined) {
      throw badPath(path, "bad-name", `names up to ${maxNameSize} bytes`, `${long.length} bytes`)
    }
    this.#allowance.followed -= names.length
    if (this.#allowance.followed < 0)
      throw badPath(path, "symlink-loop", "a tree without long chains of symlinks", "one with them")
    return names.toReversed() as ByteString[]
  }
}
