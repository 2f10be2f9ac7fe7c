import type { ByteString } from "../bytes/index.ts"
import { extentAt, newExtent } from "./fs/extents.ts"
import { directoryType, fileTypeMask, itemType, keyOf, regularType, rootInode } from "./fs/keys.ts"
import { newAttributes } from "./fs/requests.ts"
import type { VolumeFileSystem } from "./fs/volume-fs.ts"
import type { Attack, Finding } from "./store/verify.ts"

type Damage = Extract<Finding, { readonly what: "damage" }>

/** What a damage means to who uses the volume. */
export interface Affected {
  readonly path: ByteString
  /** `content`: these bytes of the file are EIO. `metadata`: the file or directory itself, and all below it. */
  readonly what: "content" | "metadata"
  readonly offset: number
  readonly size: number
  readonly attack: Attack
}

/**
 * Which files the damage hits: walks all names and extents. Damage in the index may hide files; then the directory that
 * cannot be read is named.
 */
export function affectedFiles(fs: VolumeFileSystem, damages: readonly Damage[]): Affected[] {
  const bySegment = Map.groupBy(damages, ({ segment }) => segment)
  const affected: Affected[] = []
  const attributes = newAttributes()
  const metadata = (path: ByteString) => {
    const attack = damages.find(({ kind }) => kind !== "data")?.attack ?? "changed"
    affected.push({ path, what: "metadata", offset: 0, size: 0, attack })
  }
  const todo: { inode: number; path: ByteString }[] = [
    { inode: rootInode, path: "/" as ByteString },
  ]
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    const { inode, path } = next
    if (!reads(() => fs.getattr(inode, attributes))) {
      metadata(path)
      continue
    }
    const type = attributes.mode & fileTypeMask
    if (type === regularType) {
      try {
        affected.push(...affectedRanges(fs, inode, path, bySegment))
      } catch {
        metadata(path) // the pages that say where its content is
      }
    }
    if (type !== directoryType) continue
    const firstCookie = 2
    const list = () =>
      fs.readdir(inode, firstCookie, (name, child) => {
        todo.push({ inode: child, path: `${path === "/" ? "" : path}/${name}` as ByteString })
        return true
      })
    if (!reads(list)) metadata(path)
  }
  return affected
}

// The filesystem throws what does not verify.
function reads(verb: () => number): boolean {
  try {
    return verb() >= 0
  } catch {
    return false
  }
}

function affectedRanges(
  fs: VolumeFileSystem,
  inode: number,
  path: ByteString,
  bySegment: ReadonlyMap<number, readonly Damage[]>,
): Affected[] {
  const { tree } = fs.core.catalog
  const hi = keyOf(inode, itemType.extent)
  const affected: Affected[] = []
  const row = newExtent()
  for (let more = tree.seek(hi, 0); more && tree.hi === hi; more = tree.next()) {
    extentAt(tree, row)
    const damages = bySegment.get(row.segment)
    if (damages === undefined) continue
    for (let frame = 0; frame * row.dataSize < row.inner + row.length; frame += 1) {
      const begin = row.offset + frame * row.stride
      const damage = damages.find(
        ({ offset, size }) => begin < offset + size && begin + row.size > offset,
      )
      if (damage === undefined) continue
      const from = Math.max(0, frame * row.dataSize - row.inner)
      const to = Math.min(row.length, (frame + 1) * row.dataSize - row.inner)
      const { attack } = damage
      affected.push({ path, what: "content", offset: tree.lo + from, size: to - from, attack })
    }
  }
  return affected
}
