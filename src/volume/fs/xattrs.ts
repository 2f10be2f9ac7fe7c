import { type ByteString, byteString } from "../../bytes/index.ts"
import type { Catalog } from "./catalog.ts"
import { itemType, keyOf } from "./keys.ts"
import { aligned } from "./page.ts"

const chunkSize = 2048
const chunksEach = 64
/** Bytes of one value, as the kernel limits them. */
export const maxXattrSize = 65536
const maxSlots = 4096
const headerSize = 8

interface Found {
  readonly slot: number
  readonly chunks: number
}

/**
 * Extended attributes: slot by slot, each in chunks. Chunk 0 begins with the sizes of name and value and the name, the
 * value follows and goes on in the next chunks.
 */
export class Xattrs {
  readonly #catalog: Catalog

  constructor(catalog: Catalog) {
    this.#catalog = catalog
  }

  /** In the order of their slots, until `visit` is true. `name` makes a string only when it is called: there may be 4096. */
  #walk(
    inode: number,
    visit: (found: Found, nameIs: (name: ByteString) => boolean, name: () => ByteString) => boolean,
  ): void {
    const tree = this.#catalog.tree
    const hi = keyOf(inode, itemType.xattr)
    const nameIs = (name: ByteString) => {
      const { bytes } = tree.page
      if (bytes.readUInt32LE(tree.at) !== name.length) return false
      const from = tree.at + headerSize
      // From behind: names of many attributes begin alike.
      for (let i = name.length - 1; i >= 0; i -= 1)
        if (bytes[from + i] !== name.charCodeAt(i)) return false
      return true
    }
    const name = () => {
      const { bytes } = tree.page
      const from = tree.at + headerSize
      return byteString(bytes.subarray(from, from + bytes.readUInt32LE(tree.at)))
    }
    let more = tree.seek(hi, 0)
    while (more && tree.hi === hi) {
      const slot = tree.lo / chunksEach
      const { bytes } = tree.page
      const chunks = chunkCount(bytes.readUInt32LE(tree.at), bytes.readUInt32LE(tree.at + 4))
      if (visit({ slot, chunks }, nameIs, name)) return
      more = chunks === 1 ? tree.next() : tree.seek(hi, (slot + 1) * chunksEach)
    }
  }

  #find(inode: number, name: ByteString): Found | undefined {
    let result: Found | undefined
    this.#walk(inode, (found, nameIs) => {
      if (nameIs(name)) result = found
      return result !== undefined
    })
    return result
  }

  names(inode: number): ByteString[] {
    const names: ByteString[] = []
    this.#walk(inode, (_found, _nameIs, name) => {
      names.push(name())
      return false
    })
    return names
  }

  has(inode: number, name: ByteString): boolean {
    return this.#find(inode, name) !== undefined
  }

  get(inode: number, name: ByteString): Uint8Array | undefined {
    const found = this.#find(inode, name)
    if (found === undefined) return undefined
    const tree = this.#catalog.tree
    const parts: Uint8Array[] = []
    for (let chunk = 0; chunk < found.chunks; chunk += 1) {
      if (!tree.find(keyOf(inode, itemType.xattr), found.slot * chunksEach + chunk))
        throw new Error("an xattr has lost a chunk")
      parts.push(Uint8Array.from(tree.page.bytes.subarray(tree.at, tree.at + tree.size)))
    }
    return Buffer.concat(parts).subarray(headerSize + name.length)
  }

  /** False: there are too many. */
  set(inode: number, name: ByteString, value: Uint8Array): boolean {
    let old: Found | undefined
    let free = 0
    let count = 0
    this.#walk(inode, (found, nameIs) => {
      count += 1
      if (found.slot === free) free += 1
      if (nameIs(name)) old = found
      return old !== undefined
    })
    if (old === undefined && count >= maxSlots) return false
    const slot = old?.slot ?? free
    const whole = Buffer.alloc(headerSize + name.length + value.length)
    whole.writeUInt32LE(name.length, 0)
    whole.writeUInt32LE(value.length, 4)
    whole.write(name, headerSize, "latin1")
    whole.set(value, headerSize + name.length)
    const chunks = chunkCount(name.length, value.length)
    const hi = keyOf(inode, itemType.xattr)
    for (let chunk = 0; chunk < chunks; chunk += 1) {
      const part = whole.subarray(chunk * chunkSize, (chunk + 1) * chunkSize)
      this.#catalog.bytes.fill(0, 0, aligned(part.length))
      this.#catalog.bytes.set(part, 0)
      this.#catalog.put(hi, slot * chunksEach + chunk, part.length)
    }
    for (let chunk = chunks; chunk < (old?.chunks ?? 0); chunk += 1)
      this.#catalog.remove(hi, slot * chunksEach + chunk)
    return true
  }

  remove(inode: number, name: ByteString): boolean {
    const found = this.#find(inode, name)
    if (found === undefined) return false
    this.#removeSlot(inode, found)
    return true
  }

  removeAll(inode: number): void {
    const slots: Found[] = []
    this.#walk(inode, (found) => {
      slots.push(found)
      return false
    })
    for (const found of slots) this.#removeSlot(inode, found)
  }

  #removeSlot(inode: number, { slot, chunks }: Found): void {
    for (let chunk = 0; chunk < chunks; chunk += 1)
      this.#catalog.remove(keyOf(inode, itemType.xattr), slot * chunksEach + chunk)
  }
}

function chunkCount(nameSize: number, valueSize: number): number {
  return Math.ceil((headerSize + nameSize + valueSize) / chunkSize)
}
