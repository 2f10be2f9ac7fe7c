// Hot path: see page.ts.
import type { ByteString } from "../../bytes/index.ts"
import type { Catalog } from "./catalog.ts"
import type { Inode } from "./inode.ts"
import { itemType, keyOf } from "./keys.ts"

const two32 = 4294967296
/** Before the name in an entry. */
export const entryHeaderSize = 8
/** Of the word with the high half of the inode: its type stands on top. */
const inodeMask = 0x1fffff
const typeShift = 28
/** One sequence number below 2^32, as nearly all are. */
const shortSize = 4
/** As many names of one directory may share a hash; the seed is secret, so nobody gets there. */
const maxSameHash = 64
/** Cookies 1 and 2 are those of `.` and `..`. */
export const firstSequence = 3

/** Directories: entries in the order of their sequence numbers, which are the readdir cookies, and a hash of the names. */
export class Names {
  readonly #catalog: Catalog
  #seedA = 0
  #seedB = 0
  /** What the last `find` or `at` has found. */
  inode = 0
  type = 0
  sequence = 0

  constructor(catalog: Catalog) {
    this.#catalog = catalog
  }

  seed(a: number, b: number): void {
    this.#seedA = a
    this.#seedB = b
  }

  // Two lanes of multiply and shift, as in cyrb53.
  #hash(name: ByteString): number {
    let a = 0xdeadbeef ^ this.#seedA
    let b = 0x41c6ce57 ^ this.#seedB
    for (let i = 0; i < name.length; i += 1) {
      const byte = name.charCodeAt(i)
      a = Math.imul(a ^ byte, 2654435761)
      b = Math.imul(b ^ byte, 1597334677)
    }
    a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909)
    b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909)
    return (a ^ b) >>> 0
  }

  find(directory: number, name: ByteString): boolean {
    const tree = this.#catalog.tree
    if (!tree.find(keyOf(directory, itemType.name), this.#hash(name))) return false
    const count = sequenceCount(tree.size)
    if (count === 1) return this.#at(directory, this.#sequenceAt(0), name)
    const sequences = Array.from({ length: count }, (_, i) => this.#sequenceAt(i))
    return sequences.some((sequence) => this.#at(directory, sequence, name))
  }

  #sequenceAt(i: number): number {
    const { page, at, size } = this.#catalog.tree
    const k = (at >> 2) + 2 * i
    if (size === shortSize) return page.words[k] as number
    return (page.words[k] as number) + (page.words[k + 1] as number) * two32
  }

  #at(directory: number, sequence: number, name: ByteString): boolean {
    const tree = this.#catalog.tree
    if (!tree.find(keyOf(directory, itemType.entry), sequence)) return false
    this.#decode()
    return tree.size - entryHeaderSize === name.length && this.#name() === name
  }

  #decode(): void {
    const tree = this.#catalog.tree
    const words = tree.page.words
    const k = tree.at >> 2
    this.inode = inodeOfEntry(words, k)
    this.type = typeOfEntry(words, k)
    this.sequence = tree.lo
  }

  #name(): ByteString {
    const { page, at, size } = this.#catalog.tree
    return page.bytes.toString("latin1", at + entryHeaderSize, at + size) as ByteString
  }

  /** The name must not be there. The caller notes the change of the directory's inode. False: too many names have its hash. */
  add(directory: Inode, name: ByteString, inode: number, type: number): boolean {
    const catalog = this.#catalog
    const { tree, words } = catalog
    const hash = this.#hash(name)
    const sequence = directory.allocated
    const hi = keyOf(directory.id, itemType.name)
    let count = 0
    if (tree.find(hi, hash)) {
      count = sequenceCount(tree.size)
      if (count >= maxSameHash) return false
      for (let i = 0; i < count; i += 1) putNumber(words, 2 * i, this.#sequenceAt(i))
    }
    putNumber(words, 2 * count, sequence)
    catalog.put(hi, hash, sizeOfSequences(words, count + 1))
    this.#putEntry(directory.id, sequence, name, inode, type)
    directory.allocated += 1
    directory.size += 1
    return true
  }

  #putEntry(
    directory: number,
    sequence: number,
    name: ByteString,
    inode: number,
    type: number,
  ): void {
    const { words, bytes } = this.#catalog
    words[(entryHeaderSize + name.length) >> 2] = 0
    words[0] = inode >>> 0
    words[1] = ((inode / two32) & inodeMask) | (type << typeShift)
    bytes.write(name, entryHeaderSize, "latin1")
    this.#catalog.put(keyOf(directory, itemType.entry), sequence, entryHeaderSize + name.length)
  }

  /** Lets the entry that `find` has found name another inode. */
  replace(directory: Inode, name: ByteString, inode: number, type: number): void {
    this.#putEntry(directory.id, this.sequence, name, inode, type)
  }

  /** Removes the entry that `find` has found. */
  remove(directory: Inode, name: ByteString): void {
    const catalog = this.#catalog
    const { tree, words } = catalog
    const sequence = this.sequence
    const hash = this.#hash(name)
    const hi = keyOf(directory.id, itemType.name)
    catalog.remove(keyOf(directory.id, itemType.entry), sequence)
    directory.size -= 1
    if (!tree.find(hi, hash)) throw new Error("a name has no hash entry")
    const count = sequenceCount(tree.size)
    if (count === 1) {
      catalog.remove(hi, hash)
      return
    }
    let left = 0
    for (let i = 0; i < count; i += 1) {
      const other = this.#sequenceAt(i)
      if (other === sequence) continue
      putNumber(words, 2 * left, other)
      left += 1
    }
    catalog.put(hi, hash, sizeOfSequences(words, left))
  }

  /** The next entry after the sequence number, in the fields and as its name; undefined at the end. */
  after(directory: number, sequence: number): ByteString | undefined {
    const tree = this.#catalog.tree
    const hi = keyOf(directory, itemType.entry)
    if (!tree.seek(hi, sequence + 1) || tree.hi !== hi) return undefined
    this.#decode()
    return this.#name()
  }
}

function sequenceCount(size: number): number {
  return size === shortSize ? 1 : size >> 3
}

function putNumber(words: Uint32Array, at: number, value: number): void {
  words[at] = value >>> 0
  words[at + 1] = (value / two32) >>> 0
}

function sizeOfSequences(words: Uint32Array, count: number): number {
  return count === 1 && words[1] === 0 ? shortSize : count * 8
}

export function inodeOfEntry(words: Uint32Array, at: number): number {
  return (words[at] as number) + ((words[at + 1] as number) & inodeMask) * two32
}

export function typeOfEntry(words: Uint32Array, at: number): number {
  return (words[at + 1] as number) >>> typeShift
}
