import { displayName } from "../../bytes/index.ts"
import type { Core } from "./core.ts"
import { extentAt, extentOverhead, newExtent } from "./extents.ts"
import { Inode, inodeFlags } from "./inode.ts"
import { directoryType, fileTypeMask, itemType, rootInode } from "./keys.ts"
import { LiveTable } from "./live-table.ts"
import { inodeOfEntry, typeOfEntry } from "./names.ts"

interface Seen {
  links: number
  allocated: number
  children: number
  subdirectories: number
}

/**
 * Is the index consistent with itself? Every fault in words; none when all is well. It reads the whole index, and keeps
 * a little of each inode in memory. Nothing may wait: call it after a commit.
 */
export function checkIndex(core: Core): string[] {
  const faults: string[] = []
  const inodes = new Map<number, Inode>()
  const seen = new Map<number, Seen>()
  const live = new LiveTable()
  readItems(core, inodes, seen, live, faults)
  for (const [id, inode] of inodes) checkInode(core, inode, seen.get(id), faults)
  for (const id of seen.keys()) if (!inodes.has(id)) faults.push(`inode ${id} is not there`)
  if (inodes.size !== core.inodeCount)
    faults.push(`wanted ${core.inodeCount} inodes, found ${inodes.size}`)
  core.catalog.tree.visitPages((segment, _offset, size) => live.add(segment, size))
  for (const { segment, size } of core.tables) live.add(segment, size)
  checkLive(live, core.catalog.live, faults)
  return faults
}

function readItems(
  core: Core,
  inodes: Map<number, Inode>,
  seen: Map<number, Seen>,
  live: LiveTable,
  faults: string[],
): void {
  const { tree } = core.catalog
  const extent = newExtent()
  let last = { inode: 0, end: 0 }
  for (let more = tree.seek(0, 0); more; more = tree.next()) {
    const id = Math.floor(tree.hi / 16)
    const type = tree.hi % 16
    const words = tree.page.words
    const at = tree.at >> 2
    if (type === itemType.inode) {
      const inode = new Inode(id)
      inode.decode(words, at)
      inodes.set(id, inode)
    } else if (type === itemType.extent) {
      const { segment, length } = extentAt(tree, extent)
      if (last.inode === id && last.end > tree.lo) faults.push(`inode ${id}: extents overlap`)
      last = { inode: id, end: tree.lo + length }
      live.add(segment, length + extentOverhead)
      of(seen, id).allocated += length
    } else if (type === itemType.entry) {
      const child = inodeOfEntry(words, at)
      const counts = of(seen, id)
      counts.children += 1
      of(seen, child).links += 1
      if (typeOfEntry(words, at) === directoryType >> 12) counts.subdirectories += 1
    }
    if (tree.cache.needsTrim) tree.trim()
  }
}

function of(seen: Map<number, Seen>, id: number): Seen {
  let found = seen.get(id)
  if (found === undefined) {
    found = { links: 0, allocated: 0, children: 0, subdirectories: 0 }
    seen.set(id, found)
  }
  return found
}

const none: Seen = { links: 0, allocated: 0, children: 0, subdirectories: 0 }

function checkInode(core: Core, inode: Inode, seen = none, faults: string[]): void {
  const want = (what: string, wanted: number, found: number): void => {
    if (wanted !== found)
      faults.push(`inode ${inode.id}: ${what}: wanted ${wanted}, found ${found}`)
  }
  if ((inode.mode & fileTypeMask) === directoryType) {
    want("entries", seen.children, inode.size)
    if (inode.linkCount > 0) want("links", 2 + seen.subdirectories, inode.linkCount)
    checkNames(core, inode, faults)
  } else {
    want("links", seen.links, inode.linkCount)
    if (inode.isRegular) want("allocated bytes", seen.allocated, inode.allocated)
  }
  if (inode.linkCount === 0 && !core.orphans.has(inode.id) && !core.readOnly)
    faults.push(`inode ${inode.id} has no links, and is no orphan`)
  if (inode.id !== rootInode && seen.links === 0 && inode.linkCount > 0)
    faults.push(`inode ${inode.id} has no name`)
  const listed = core.xattrs.names(inode.id).length
  if (listed > 0 && (inode.flags & inodeFlags.xattrs) === 0)
    faults.push(`inode ${inode.id} has xattrs that nobody sees`)
}

// Each entry is found by its name too.
function checkNames(core: Core, directory: Inode, faults: string[]): void {
  let sequence = 0
  for (;;) {
    const name = core.names.after(directory.id, sequence)
    if (name === undefined) return
    sequence = core.names.sequence
    if (!core.names.find(directory.id, name) || core.names.sequence !== sequence)
      faults.push(`inode ${directory.id}: entry ${displayName(name)} is not found by its name`)
  }
}

function checkLive(wanted: LiveTable, found: LiveTable, faults: string[]): void {
  const [want, have] = [textOf(wanted), textOf(found)]
  if (want !== have) faults.push(`live bytes: wanted {${want}}, found {${have}}`)
}

function textOf(table: LiveTable): string {
  return table
    .entries()
    .map(([segment, size]) => `${segment}: ${size}`)
    .join(", ")
}
