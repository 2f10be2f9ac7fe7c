// Hot path: see page.ts.
import type { ByteString } from "../../bytes/index.ts"
import type { Catalog } from "./catalog.ts"
import type { Inode } from "./inode.ts"
import { itemType, keyOf } from "./keys.ts"

const two32 = 4294967296
const headerSize = 12
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

  // 53 bits from two lanes of multiply and shift, as in cyrb53.
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
    return two32 * (2097151 & b) + (a >>> 0)
  }

  find(directory: number, name: ByteString): boolean {
    const tree = this.#catalog.tree
    if (!tree.find(keyOf(directory, itemType.name), this.#hash(name))) return false
    const count = tree.size >> 3
    if (count === 1) return this.#at(directory, this.#sequenceAt(0), name)
    const sequences = Array.from({ length: count }, (_, i) => this.#sequenceAt(i))
    return sequences.some((sequence) => this.#at(directory, sequence, name))
  }

  #sequenceAt(i: number): number {
    const { page, at } = this.#catalog.tree
    const k = (at >> 2) + 2 * i
    return (page.words[k] as number) + (page.words[k + 1] as number) * two32
  }

  #at(directory: number, sequence: number, name: ByteString): boolean {
    const tree = this.#catalog.tree
    if (!tree.find(keyOf(directory, itemType.entry), sequence)) return false
    this.#decode()
    return tree.size - headerSize === name.length && this.#name() === name
  }

  #decode(): void {
    const tree = this.#catalog.tree
    const words = tree.page.words
    const k = tree.at >> 2
    this.inode = (words[k] as number) + (words[k + 1] as number) * two32
    this.type = words[k + 2] as number
    this.sequence = tree.lo
  }

  #name(): ByteString {
    const { page, at, size } = this.#catalog.tree
    return page.bytes.toString("latin1", at + headerSize, at + size) as ByteString
  }

  /** The name must not be there. The caller notes the change of the directory's inode. False: too many names have its hash. */
  add(directory: Inode, name: ByteString, inode: number, type: number): boolean {
    const catalog = this.#catalog
    const { tree, words } = catalog
    const hash = this.#hash(name)
    const sequence = directory.allocated
    const hi = keyOf(directory.id, itemType.name)
    let size = 0
    if (tree.find(hi, hash)) {
      size = tree.size
      if (size >= maxSameHash * 8) return false
      words.set(tree.page.words.subarray(tree.at >> 2, (tree.at + size) >> 2))
    }
    words[size >> 2] = sequence >>> 0
    words[(size >> 2) + 1] = (sequence / two32) >>> 0
    catalog.put(hi, hash, size + 8)
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
    words[(headerSize + name.length) >> 2] = 0
    words[0] = inode >>> 0
    words[1] = (inode / two32) >>> 0
    words[2] = type
    bytes.write(name, headerSize, "latin1")
    this.#catalog.put(keyOf(directory, itemType.entry), sequence, headerSize + name.length)
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
    if (tree.size === 8) {
      catalog.remove(hi, hash)
      return
    }
    let at = 0
    for (let i = 0; i < tree.size >> 3; i += 1) {
      const other = this.#sequenceAt(i)
      if (other === sequence) continue
      words[at] = other >>> 0
      words[at + 1] = (other / two32) >>> 0
      at += 2
    }
    catalog.put(hi, hash, at * 4)
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
