import type { ByteString } from "../../bytes/index.ts"
import type { Core } from "./core.ts"
import { itemType, keyOf, rootInode } from "./keys.ts"
import { entryHeaderSize, inodeOfEntry } from "./names.ts"

/** A search through the whole index ends after so much of it. */
const maxItems = 5_000_000

interface Place {
  readonly parent: number
  readonly name: ByteString
}

/** One path of an inode, for reports; undefined when it has none, or when it takes too long to find. Slow: walks the index. */
export function pathOfInode(core: Core, inode: number): ByteString | undefined {
  const names: ByteString[] = []
  for (let at = inode; at !== rootInode; ) {
    const found = core.inodes.get(at)
    if (found === undefined || names.length > 4096) return undefined
    const place = found.isDirectory
      ? search(core, at, keyOf(found.extra, itemType.entry), keyOf(found.extra, itemType.entry))
      : search(core, at, 0, Number.MAX_SAFE_INTEGER)
    if (place === undefined) return undefined
    names.push(place.name)
    at = place.parent
  }
  return `/${names.toReversed().join("/")}` as ByteString
}

// The first entry that names the inode, with a key from `first` to `last`.
function search(core: Core, inode: number, first: number, last: number): Place | undefined {
  const { tree } = core.catalog
  let count = 0
  for (let more = tree.seek(first, 0); more && tree.hi <= last; more = tree.next()) {
    count += 1
    if (count > maxItems) return undefined
    if (tree.cache.needsTrim) tree.trim()
    if (tree.hi % 16 !== itemType.entry) continue
    const { words, bytes } = tree.page
    const at = tree.at
    if (inodeOfEntry(words, at >> 2) !== inode) continue
    const name = bytes.toString("latin1", at + entryHeaderSize, at + tree.size) as ByteString
    return { parent: Math.floor(tree.hi / 16), name }
  }
  return undefined
}
