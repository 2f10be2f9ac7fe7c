import { alignUp, type ByteString } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { blockSize, chunkSizeFor, noBlock, slotsPerBlock } from "./format.ts"
import type { Place } from "./image.ts"
import type { BinfsReader } from "./reader.ts"

/**
 * The paths of the files, directories and symlinks that a block of the image belongs to, in order, at most `limit`: the
 * tails of several may share one. For messages about damage: it looks through an image that may be damaged, and leaves
 * out what it cannot tell.
 */
export function ownersOfBlock(reader: BinfsReader, block: number, limit: number): ByteString[] {
  const owners: ByteString[] = []
  const seen = new Set<number>([reader.rootNid])
  const stack = [{ path: "" as ByteString, place: reader.stat(reader.rootNid) }]
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    const { path, place } = top
    if (owns(reader, place, block)) owners.push(path === "" ? ("/" as ByteString) : path)
    if (owners.length === limit) break
    if (place.inode.kind !== "directory") continue
    for (const { name, place: child } of childrenOf(reader, place)) {
      if (child.inode.kind === "directory" && seen.has(child.nid)) continue
      seen.add(child.nid)
      stack.push({ path: `${path}/${name}` as ByteString, place: child })
    }
  }
  return owners
}

function childrenOf(reader: BinfsReader, place: Place): { name: ByteString; place: Place }[] {
  return (attempt(() => [...reader.list(place).byName]) ?? [])
    .toReversed()
    .flatMap(([name, { nid }]) => {
      const child = attempt(() => reader.stat(nid))
      return child === undefined ? [] : [{ name, place: child }]
    })
}

function owns(reader: BinfsReader, place: Place, block: number): boolean {
  const { inode, nid } = place
  if (Math.floor(nid / slotsPerBlock) === block) return true
  if (inode.layout === "chunks") {
    const chunkSize = chunkSizeFor(inode.size)
    const map = attempt(() => reader.chunks(place)) ?? new Uint32Array(0)
    return map.some((address, i) => {
      const size = Math.min(chunkSize, inode.size - i * chunkSize)
      return (
        address !== noBlock && block >= address && block < address + Math.ceil(size / blockSize)
      )
    })
  }
  if (inode.kind !== "file" && inode.kind !== "directory" && inode.kind !== "symlink") return false
  const { offset, size } = reader.image.dataRange(place)
  return block * blockSize >= offset && block * blockSize < offset + alignUp(size, blockSize)
}

function attempt<T>(action: () => T): T | undefined {
  try {
    return action()
  } catch (error) {
    if (error instanceof CofferError) return undefined
    throw error
  }
}
