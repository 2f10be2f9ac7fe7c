// Hot path: see page.ts.
import type { FrameStore, Place, Recovery } from "../frame-store.ts"
import { Catalog } from "./catalog.ts"
import { Clock } from "./clock.ts"
import { Compaction } from "./compaction.ts"
import { FileData } from "./data.ts"
import type { Inode } from "./inode.ts"
import { Inodes } from "./inodes.ts"
import { operation } from "./journal.ts"
import {
  directoryType,
  fileTypeMask,
  itemType,
  keyOf,
  maxFileSize,
  rootInode,
  symlinkType,
} from "./keys.ts"
import type { LiveTable } from "./live-table.ts"
import { firstSequence, Names } from "./names.ts"
import { pageSize } from "./page.ts"
import { countLive, differenceOf, type Miscount, miscounted } from "./recount.ts"
import { decodeState, encodeState } from "./state.ts"
import { removeTarget } from "./targets.ts"
import { Xattrs } from "./xattrs.ts"

export interface VolumeOptions {
  /** Nothing changes; orphans stay. */
  readonly readOnly?: boolean
  /** Bytes of index that may stay in memory. */
  readonly cacheSize?: number
  /** Two random words for the hash of names; asked for once, when the volume is new. */
  readonly random?: () => readonly [number, number]
  /** Owner and permissions of the root of a new volume. */
  readonly root?: { readonly uid: number; readonly gid: number; readonly mode: number }
  /** Of a new volume that is written once; else the time of day. */
  readonly clock?: Clock
  /** A frame did not verify, or the store failed. */
  readonly report?: (error: unknown) => void
}

const megabyte = 1024 * 1024
const journalLimit = 512 * 1024
const dirtyInodeLimit = 8192
/** Log to replay at which a checkpoint begins, and at which it no longer waits for a quiet moment. */
const checkpointSize = 16 * megabyte
const checkpointLimit = 40 * megabyte
/** All of the log, data too: a mount reads its frame headers. */
const storeLogLimit = 512 * megabyte
const autoCommitMs = 5000
const tableEntries = 2000
const sliceMs = 2
/** Bytes written between two slices of compaction that is in a hurry. */
const compactEvery = megabyte
/** Files that hold more go in slices. */
const bigFile = 64 * megabyte

/** What all parts of the filesystem share, and how changes become durable. */
export class Core {
  readonly store: FrameStore
  readonly catalog: Catalog
  readonly inodes: Inodes
  readonly names: Names
  readonly data: FileData
  readonly xattrs: Xattrs
  readonly clock: Clock
  readonly compaction: Compaction
  readonly readOnly: boolean
  readonly report: (error: unknown) => void
  /** Why nothing can be changed any more. */
  failure: Error | undefined = undefined
  inodeCount = 0
  /** Inodes without links: those that the kernel may still hold. */
  readonly orphans = new Set<number>()
  readonly #recorded = new Set<number>()
  readonly #doomed: number[] = []
  #nextInode = rootInode + 1
  #seeds: readonly [number, number] = [0, 0]
  #tables: Place[] = []
  #changedAt: number | undefined
  #changed = false
  #unsynced = false
  #logged = 0
  #closed = false
  #compactedAt = 0
  /** Counts checkpoints: what a compaction freed is free after the next one. */
  checkpoints = 0

  constructor(store: FrameStore, recovery: Recovery, options: VolumeOptions = {}) {
    this.store = store
    this.clock = options.clock ?? new Clock()
    this.readOnly = options.readOnly ?? false
    this.report = options.report ?? (() => undefined)
    const cacheSize = Math.max(16 * pageSize, options.cacheSize ?? 128 * megabyte)
    this.catalog = new Catalog(store, cacheSize, !this.readOnly)
    this.inodes = new Inodes(this.catalog, 20_000)
    this.names = new Names(this.catalog)
    this.data = new FileData(store, this.catalog, this.inodes)
    this.xattrs = new Xattrs(this.catalog)
    this.compaction = new Compaction(this)
    if (recovery.checkpoint === undefined) this.#initialise(options)
    else this.#recover(recovery.checkpoint, recovery.records)
  }

  #initialise(options: VolumeOptions): void {
    if (options.random === undefined) throw new TypeError("a new volume needs random words")
    this.#seeds = options.random()
    this.names.seed(this.#seeds[0], this.#seeds[1])
    const root = this.create(directoryType | (options.root?.mode ?? 0o755), rootInode)
    root.uid = options.root?.uid ?? 0
    root.gid = options.root?.gid ?? 0
    root.linkCount = 2
    root.allocated = firstSequence
    root.extra = rootInode
    this.checkpoint()
  }

  #recover(checkpoint: Uint8Array, records: Iterable<Uint8Array>): void {
    const state = decodeState(checkpoint)
    const { live, tree } = this.catalog
    this.#seeds = [state.seedA, state.seedB]
    this.names.seed(state.seedA, state.seedB)
    this.#nextInode = state.nextInode
    this.inodeCount = state.inodeCount
    for (const table of state.tables) this.#readTable(table)
    for (const table of state.tables) live.add(table.segment, table.size)
    this.#tables = state.tables.map((place) => ({ ...place }))
    tree.open(state.root.segment, state.root.offset, state.root.size)
    for (const set of records) {
      this.#logged += set.length
      this.catalog.replay(set, (op, hi) => this.#noticeReplay(op, hi))
    }
    this.#findOrphans()
  }

  #noticeReplay(op: number, hi: number): void {
    if (hi % 16 !== itemType.inode || hi < 16) return
    if (op === operation.remove) this.inodeCount -= 1
    else if (!this.catalog.tree.find(hi, 0)) this.inodeCount += 1
    this.#nextInode = Math.max(this.#nextInode, hi / 16 + 1)
  }

  #readTable(place: Readonly<Place>): void {
    const buffer = Buffer.alloc(place.size)
    this.store.read("index", place, buffer, 0)
    for (let at = 0; at + 8 <= buffer.length; at += 8)
      this.catalog.live.add(buffer.readUInt32LE(at), buffer.readUInt32LE(at + 4))
  }

  #findOrphans(): void {
    const { tree } = this.catalog
    const hi = keyOf(0, itemType.orphan)
    for (let more = tree.seek(hi, 0); more && tree.hi === hi; more = tree.next())
      this.#recorded.add(tree.lo)
    if (this.readOnly) return
    for (const inode of this.#recorded) {
      this.orphans.add(inode)
      this.#doomed.push(inode)
    }
    if (this.#doomed.length > 0) this.touch()
  }

  /** A new inode with times of now; links, owner and the rest are the caller's. */
  create(mode: number, id = this.#nextInode): Inode {
    if (id === this.#nextInode) this.#nextInode += 1
    const inode = this.inodes.create(id)
    inode.mode = mode
    this.clock.now()
    inode.setAtime(this.clock)
    inode.setMtime(this.clock)
    inode.setCtime(this.clock)
    this.inodeCount += 1
    return inode
  }

  /** Says that something has changed: to be called once by each operation that changes anything. */
  touch(): void {
    this.#changed = true
    this.#changedAt ??= performance.now()
  }

  /** Ends an operation: here caches may shrink and a set of changes may end. */
  settle(): void {
    const { journal, tree } = this.catalog
    this.inodes.trim()
    if (this.inodes.dirtyCount > dirtyInodeLimit) this.inodes.flush()
    if (tree.cache.needsTrim) tree.cache.trim()
    if (journal.size > journalLimit) this.commit(false)
    if (this.needsCheckpoint) this.#stepCheckpoint(2)
    if (this.data.appended - this.#compactedAt < compactEvery) return
    this.#compactedAt = this.data.appended
    if (this.compaction.hurry) this.compaction.run(performance.now() + 2 * sliceMs)
  }

  /** Lets the cache shrink after a look. */
  trim(): void {
    this.inodes.trim()
    this.catalog.tree.cache.trim()
  }

  /** Brings all changes into one commit. Throws what the store throws; then nothing can be changed any more. */
  commit(sync: boolean): void {
    if (this.failure !== undefined) throw this.failure
    if (this.readOnly || !(this.#changed || (sync && this.#unsynced))) return
    this.#attempt(() => {
      this.#gather()
      const { journal } = this.catalog
      this.store.commit(journal.records, sync)
      this.#logged += journal.size
      journal.clear()
    })
    this.#changed = false
    this.#unsynced = !sync
    this.#changedAt = sync ? undefined : (this.#changedAt ?? performance.now())
  }

  // Everything that waits in memory goes into the tree and the journal.
  #gather(): void {
    this.data.settle(true)
    for (const inode of this.orphans) {
      if (this.#recorded.has(inode)) continue
      this.#recorded.add(inode)
      this.catalog.put(keyOf(0, itemType.orphan), inode, 0)
    }
    this.inodes.flush()
  }

  #attempt(step: () => void): void {
    try {
      step()
    } catch (error) {
      this.fail(error)
      throw error
    }
  }

  /** After a fault in the middle of a change, memory may hold half of it: nothing of that must reach the disk. */
  fail(error: unknown): void {
    this.failure ??= error instanceof Error ? error : new Error(String(error))
    this.report(error)
  }

  /** Frames that hold the table of live bytes. */
  get tables(): readonly Readonly<Place>[] {
    return this.#tables
  }

  get needsCheckpoint(): boolean {
    return this.#logged > checkpointSize || this.store.logSize > storeLogLimit
  }

  // Leaves first, a few at a time; the rest at once when that is little, or when the log has grown too long.
  #stepCheckpoint(count: number): void {
    const { cache } = this.catalog.tree
    if (this.failure !== undefined) return
    if (this.#logged < checkpointLimit && cache.writeSome(0, count)) return
    this.checkpoint()
  }

  /** All changes become durable, and the next mount has nothing to replay. Segments without live bytes are given back. */
  checkpoint(): void {
    if (this.readOnly) return
    if (this.failure !== undefined) throw this.failure
    this.#attempt(() => {
      this.#gather()
      const { live, tree, journal } = this.catalog
      tree.cache.writeAll()
      this.#writeTables()
      for (const { segment, sealed } of this.store.segments())
        if (sealed && live.of(segment) === 0) this.store.release(segment)
      const { segment, offset, size } = tree.root
      this.store.checkpoint(
        encodeState({
          root: { segment, offset, size },
          seedA: this.#seeds[0],
          seedB: this.#seeds[1],
          nextInode: this.#nextInode,
          inodeCount: this.inodeCount,
          tables: this.#tables,
        }),
      )
      journal.clear()
    })
    this.#logged = 0
    this.#changed = false
    this.#unsynced = false
    this.#changedAt = undefined
    this.checkpoints += 1
  }

  // The table does not count the frames that hold it: they are known from the state.
  #writeTables(): void {
    const { live } = this.catalog
    for (const table of this.#tables) live.add(table.segment, -table.size)
    this.#tables = []
    if (live.fault !== undefined) this.#recountOrCommit()
    const entries = live.entries()
    for (let i = 0; i < entries.length; i += tableEntries) {
      const part = entries.slice(i, i + tableEntries)
      const buffer = Buffer.alloc(part.length * 8)
      for (const [j, [segment, size]] of part.entries()) {
        buffer.writeUInt32LE(segment, j * 8)
        buffer.writeUInt32LE(size, j * 8 + 4)
      }
      const place = { segment: 0, offset: 0, size: 0 }
      this.store.append("index", buffer, 0, buffer.length, place)
      this.#tables.push(place)
    }
    for (const table of this.#tables) live.add(table.segment, table.size)
  }

  // Segments cannot go by wrong counts. When the index is too damaged to count, what changed is still made durable.
  #recountOrCommit(): void {
    try {
      this.recount()
    } catch (error) {
      this.store.commit(this.catalog.journal.records, true)
      this.catalog.journal.clear()
      throw error
    }
  }

  /** Counts live bytes anew, from the whole index, and reports it when the table was wrong. */
  recount(): void {
    const counted = this.#count()
    const found = this.#miscountOf(counted)
    if (found === undefined) return
    this.catalog.live.replace(counted)
    this.report(miscounted(found))
  }

  /** The first segment of which the table says something else than the whole index; undefined: the table is right. */
  miscount(): Miscount | undefined {
    return this.#miscountOf(this.#count())
  }

  #count(): LiveTable {
    const counted = countLive(this.catalog.tree)
    for (const table of this.#tables) counted.add(table.segment, table.size)
    return counted
  }

  #miscountOf(counted: LiveTable): Miscount | undefined {
    const { live } = this.catalog
    const segment = live.fault?.segment ?? differenceOf(counted, live)
    if (segment === undefined) return undefined
    return { segment, wanted: counted.of(segment), found: live.fault?.size ?? live.of(segment) }
  }

  /** A file without a name gets one. */
  adopt(inode: Inode): void {
    this.orphans.delete(inode.id)
    if (this.#recorded.delete(inode.id)) this.catalog.remove(keyOf(0, itemType.orphan), inode.id)
  }

  /** The file has no links, and nobody holds it: it goes, a big one in slices. */
  reclaim(inode: Inode): void {
    this.touch()
    this.data.drop(inode.id)
    if (inode.allocated > bigFile) {
      this.#doomed.push(inode.id)
      return
    }
    if (inode.isRegular && inode.allocated > 0) this.catalog.cut(inode.id, 0, maxFileSize)
    this.#remove(inode)
  }

  #remove(inode: Inode): void {
    if (inode.flags !== 0) this.xattrs.removeAll(inode.id)
    if ((inode.mode & fileTypeMask) === symlinkType) removeTarget(this.catalog, inode.id)
    this.inodes.remove(inode)
    this.inodeCount -= 1
    this.adopt(inode)
  }

  // True: there is more to do.
  #reclaimSlice(): boolean {
    const id = this.#doomed.at(-1)
    if (id === undefined) return false
    const inode = this.inodes.get(id)
    if (inode === undefined) throw new Error("an orphan has no inode")
    this.touch()
    const { tree } = this.catalog
    const hi = keyOf(id, itemType.extent)
    let more = tree.seek(hi, 0)
    for (let i = 0; i < 200 && more && tree.hi === hi; i += 1) more = tree.next()
    if (more && tree.hi === hi) this.catalog.cut(id, 0, tree.lo)
    else {
      this.catalog.cut(id, 0, maxFileSize)
      this.#doomed.pop()
      this.#remove(inode)
    }
    this.settle()
    return this.#doomed.length > 0
  }

  /** Work in slices. Returns milliseconds until there is more to do. */
  tick(nowMs: number): number {
    if (this.readOnly || this.failure !== undefined || this.#closed) return 10_000
    const end = performance.now() + sliceMs
    while (this.#reclaimSlice()) if (performance.now() > end) return 0
    if (this.needsCheckpoint) {
      this.#stepCheckpoint(64)
      return 0
    }
    if (this.compaction.run(this.compaction.hurry ? end + 6 : end)) return 0
    if (this.#changedAt === undefined) return 10_000
    const wait = this.#changedAt + autoCommitMs - nowMs
    if (wait > 0) return wait
    this.commit(true)
    return 10_000
  }

  /** The disk is full. True: there is room for a little more than the reserve. */
  makeRoom(): boolean {
    for (let attempt = 0; attempt < 4; attempt += 1) {
      if (this.data.probe()) return true
      if (!this.compaction.reclaim()) return false
    }
    return this.data.probe()
  }

  /** Idempotent. What could not be written is reported. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    try {
      if (!this.readOnly && this.failure === undefined) {
        while (this.#reclaimSlice());
        if (this.#changed || this.#unsynced || this.#logged > 0) this.checkpoint()
      }
    } finally {
      this.store.close()
    }
  }
}
