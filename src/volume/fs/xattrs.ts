import { type ByteString, byteString } from "../../bytes/index.ts"
import type { Catalog } from "./catalog.ts"
import { itemType, keyOf } from "./keys.ts"
import { aligned } from "./page.ts"

const chunkSize = 4096
const chunksEach = 32
/** Bytes of one value, as the kernel limits them. */
export const maxXattrSize = 65536
const maxSlots = 4096
const headerSize = 8

interface Found {
  readonly slot: number
  readonly chunks: number
  readonly name: ByteString
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

  /** In the order of their slots. */
  #slots(inode: number): Found[] {
    const tree = this.#catalog.tree
    const hi = keyOf(inode, itemType.xattr)
    const found: Found[] = []
    let more = tree.seek(hi, 0)
    while (more && tree.hi === hi) {
      const slot = tree.lo / chunksEach
      const { bytes } = tree.page
      const at = tree.at
      const nameSize = bytes.readUInt32LE(at)
      const valueSize = bytes.readUInt32LE(at + 4)
      const name = byteString(bytes.subarray(at + headerSize, at + headerSize + nameSize))
      found.push({ slot, name, chunks: chunkCount(nameSize, valueSize) })
      more = tree.seek(hi, (slot + 1) * chunksEach)
    }
    return found
  }

  names(inode: number): ByteString[] {
    return this.#slots(inode).map(({ name }) => name)
  }

  has(inode: number, name: ByteString): boolean {
    return this.#slots(inode).some((found) => found.name === name)
  }

  get(inode: number, name: ByteString): Uint8Array | undefined {
    const found = this.#slots(inode).find((slot) => slot.name === name)
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
    const slots = this.#slots(inode)
    const old = slots.find((slot) => slot.name === name)
    if (old === undefined && slots.length >= maxSlots) return false
    const slot = old?.slot ?? firstFree(slots)
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
    const found = this.#slots(inode).find((slot) => slot.name === name)
    if (found === undefined) return false
    for (let chunk = 0; chunk < found.chunks; chunk += 1)
      this.#catalog.remove(keyOf(inode, itemType.xattr), found.slot * chunksEach + chunk)
    return true
  }

  removeAll(inode: number): void {
    for (const name of this.names(inode)) this.remove(inode, name)
  }
}

function chunkCount(nameSize: number, valueSize: number): number {
  return Math.ceil((headerSize + nameSize + valueSize) / chunkSize)
}

function firstFree(slots: readonly Found[]): number {
  let slot = 0
  for (const found of slots) {
    if (found.slot !== slot) return slot
    slot += 1
  }
  return slot
}
