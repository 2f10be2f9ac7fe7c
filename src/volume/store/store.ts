// Hot path: append, read and commit.
import { CofferError, fromSystem } from "../../errors.ts"
import type {
  FrameKind,
  FrameStore,
  Place,
  ReserveUse,
  SegmentInfo,
  StoreSpace,
} from "../frame-store.ts"
import { type AnchorState, maxSeenSize } from "./anchor.ts"
import {
  type CheckpointRef,
  type CommitFlags,
  commitFixedSize,
  commitTag,
  encodeCommit,
  type StoreItems,
  type TableEntry,
} from "./commit.ts"
import {
  frameHeaderSize,
  kindCode,
  maxFramesPerCommit,
  maxPayloadSize,
  maxSegmentCount,
  maxStateSize,
  type SegmentId,
  segmentHeaderSize,
} from "./format.ts"
import { FullFiles } from "./full-files.ts"
import { wrapOldKey } from "./keys.ts"
import { takeRekeyRequest } from "./rekey-request.ts"
import type { Recovered } from "./replay.ts"
import { type NewFile, Room } from "./room.ts"
import { SealedSegments } from "./sealed-segments.ts"
import { SegmentCache } from "./segment-cache.ts"
import { RunBuffer, SegmentWriter } from "./segment-writer.ts"
import { segmentPath, type VolumeContext } from "./segments.ts"
import { tooManySegments, writeFailed } from "./write-failed.ts"
import type { WriterOptions } from "./writer-options.ts"
import { ZeroAhead } from "./zero-ahead.ts"

/** Where the chain stands: the newest commit. */
interface ChainEnd {
  readonly sequence: number
  readonly tag: Uint8Array
}

const linkSize = frameHeaderSize + commitFixedSize + 8 + 40
const smallItemsSize = 256 + maxSeenSize

/** A volume's store, open for writing. Made by `openStore`. */
export class VolumeStore implements FrameStore {
  readonly #context: VolumeContext
  readonly #options: WriterOptions
  readonly #room: Room
  readonly #run = new RunBuffer()
  readonly #ahead = new ZeroAhead()
  readonly #cache: SegmentCache
  readonly #sealed: SealedSegments
  readonly #full: FullFiles
  #newNames = false
  #writer: SegmentWriter
  #chain: ChainEnd
  #headOffset = 0
  #durable: number
  #checkpoint: CheckpointRef
  #generation: number
  #epoch: number
  #logSize: number
  #failure: CofferError | undefined
  #requestAt = 0
  readonly #listed: boolean
  reserveUse: ReserveUse = "none"

  /** Begins a new segment after `recovered`, with an open commit in it, and makes that durable and anchored. */
  constructor(
    context: VolumeContext,
    recovered: Recovered,
    number: number,
    items: StoreItems,
    options: WriterOptions,
  ) {
    const { head } = recovered
    this.#context = context
    this.#options = options
    this.#full = new FullFiles(context.disk)
    this.#sealed = new SealedSegments(context, recovered.table, recovered.wrappedKeys)
    this.#chain = head
    this.#durable = head.sequence
    this.#checkpoint = recovered.checkpoint
    this.#generation = head.id.generation
    this.#epoch = items.open?.epoch ?? recovered.epoch
    this.#logSize = recovered.logSize
    this.#listed = context.header.protection === "authenticated"
    this.#cache = new SegmentCache(context, (segment) => this.#idOf(segment))
    const collect = () => this.#collect(true)
    this.#room = new Room(context.disk, options.segmentSize, collect, options.entropy)
    this.#room.scale(this.#sealed.size)
    const previous = head.sequence === 0 ? undefined : { ...head.id, end: head.end }
    this.#writer = this.#begin(this.#room.take(), number, previous, items)
    this.#sync()
    options.freshness.anchor()
  }

  get logSize(): number {
    return this.#logSize
  }

  /** The tag of the newest commit. */
  get tag(): Uint8Array {
    return this.#chain.tag
  }

  get sequence(): number {
    return this.#chain.sequence
  }

  append(kind: "data" | "index", payload: Buffer, at: number, size: number, out: Place): void {
    if (this.#failure !== undefined) throw this.#failure
    if (size > maxPayloadSize) throw new TypeError("a frame has at most 1 MiB")
    if (this.#writer.frameCount >= maxFramesPerCommit) this.#step({}, {}, nothing)
    this.#prepare(frameHeaderSize + size, kind === "index" ? "all" : this.reserveUse)
    const writer = this.#writer
    out.offset = this.#attempt(() => writer.append(kindCode(kind), payload, at, size))
    out.segment = writer.id.number
    out.size = size
    this.#logSize += frameHeaderSize + size
  }

  read(kind: "data" | "index", place: Place, target: Buffer, at: number): void {
    if (!(at >= 0 && at + place.size <= target.length))
      throw new TypeError(`wanted room for ${place.size} bytes`)
    const writer = this.#writer
    if (place.segment === writer.id.number && place.offset >= writer.runStart) {
      if (writer.readQueued(kindCode(kind), place.offset, place.size, target, at)) return
      throw new CofferError("integrity", `wanted a ${kind} frame that was queued, found none`)
    }
    this.#cache.read(kind, place, target, at)
  }

  readRow(
    place: Place,
    stride: number,
    count: number,
    target: Buffer,
    at: number,
    step: number,
  ): void {
    if (!(at >= 0 && at + (count - 1) * step + place.size <= target.length))
      throw new TypeError(`wanted room for ${count} frames`)
    const writer = this.#writer
    const end = place.offset + (count - 1) * stride + frameHeaderSize + place.size
    if (place.segment === writer.id.number && end > writer.runStart) {
      const { segment, size } = place
      for (let i = 0; i < count; i += 1)
        this.read(
          "data",
          { segment, size, offset: place.offset + i * stride },
          target,
          at + i * step,
        )
    } else this.#cache.readRow(place, stride, count, target, at, step)
  }

  prefetch(segment: number, offset: number, size: number): void {
    const writer = this.#writer
    if (segment === writer.id.number && offset + size > writer.runStart) return
    this.#cache.prefetch(segment, offset, size)
  }

  flush(): void {
    this.#usable()
    this.#attempt(() => this.#writer.write())
  }

  commit(records: Uint8Array, sync: boolean): number {
    this.#usable()
    let at = 0
    do {
      const most = maxPayloadSize - commitFixedSize - smallItemsSize - this.#hashesSize
      const size = Math.min(records.length - at, most)
      const more = at + size < records.length
      const part = records.subarray(at, at + size)
      if (at === 0) this.#step({ changes: true, more }, {}, part)
      // Half a set is in the chain: to begin it again would make it another one.
      else this.#orFail(() => this.#step({ changes: true, more }, {}, part))
      at += size
    } while (at < records.length)
    if (sync) this.#sync()
    return this.#chain.sequence
  }

  checkpoint(state: Uint8Array): void {
    this.#usable()
    if (state.length > maxStateSize) throw new TypeError("a checkpoint's state has at most 64 KiB")
    const dropped = this.#sealed.takeReleased()
    this.#prepareCommit(
      commitFixedSize + smallItemsSize + state.length + 80 * (this.#sealed.count + 2),
    )
    const gone = this.#sealed.remove(dropped)
    this.#write({ checkpoint: true }, this.#sealed.items(), state)
    this.#sync()
    this.#checkpoint = {
      ...this.#chain,
      segment: this.#writer.id.number,
      offset: this.#headOffset,
    }
    this.#logSize = 0
    if (gone.length === 0) return
    // A commit that says that the checkpoint is durable: else, with nothing after it and a segment of its log deleted, it
    // could not be told from one that a power cut has torn.
    this.#step({}, {}, nothing)
    this.#sync()
    this.#drop(gone)
  }

  segments(): SegmentInfo[] {
    const { id, offset } = this.#writer
    const sealed = this.#sealed.infos(this.#generation)
    return [...sealed, { segment: id.number, size: offset, sealed: false, stale: false }]
  }

  release(segment: number): void {
    this.#sealed.release(segment)
  }

  frames(segment: number, visit: (kind: FrameKind, place: Readonly<Place>) => void): void {
    this.#sealed.visit(segment, visit)
  }

  space(): StoreSpace {
    const { free, total } = this.#context.disk.space()
    const ahead = Math.max(0, this.#writer.reserved - this.#writer.offset) + this.#room.ahead
    const dead = this.#options.garbage.size // goes at once when the disk is full
    const leaving = (use: ReserveUse) =>
      Math.max(0, free + ahead + dead - this.#room.kept(use) - this.#room.spare(use))
    const [none, some, most, all] = [
      leaving("none"),
      leaving("some"),
      leaving("most"),
      leaving("all"),
    ]
    return { total, left: { none, some, most, all } }
  }

  tick(_nowMs: number): number {
    const { freshness, garbage } = this.#options
    freshness.keep()
    if (this.#failure === undefined) {
      if (freshness.due() === 0) this.#anchored(() => freshness.retry())
      if (garbage.due() === 0) this.#collect(false)
      this.#answerRequest()
    }
    return Math.min(freshness.due() ?? idleMs, garbage.due() ?? idleMs, idleMs)
  }

  /**
   * From here on the volume is under a new key: a new segment begins with it, which holds the older keys wrapped. When
   * this returns it is durable and anchored, and the old key opens the volume no more.
   */
  rekey(newKey: Uint8Array): void {
    this.#usable()
    const { keys, header } = this.#context
    if (keys === undefined) throw new TypeError("a volume without its key cannot be rekeyed")
    const older = [...this.#sealed.generations().add(this.#generation)].toSorted((a, b) => a - b)
    const wrapped = older.map((old) => wrapOldKey(newKey, header, old, keys.get(old)))
    const generation = this.#generation + 1
    keys.add(generation, newKey)
    this.#sealed.wrappedKeys = wrapped
    this.#rollOver(generation, { keys: wrapped })
    this.#sync()
    this.#anchored(() => this.#options.freshness.anchor())
  }

  // `coffer volume rekey` of a mounted volume leaves a request in the directory.
  #answerRequest(): void {
    const now = this.#options.now()
    if (now < this.#requestAt) return
    this.#requestAt = now + idleMs
    const { keys } = this.#context
    if (keys === undefined) return
    const key = keys.get(this.#generation)
    const newKey = takeRekeyRequest(this.#context, key, this.#generation, now)
    if (newKey !== undefined) this.rekey(newKey)
  }

  /** The newest durable commit is anchored when this returns. */
  anchor(): void {
    this.#usable()
    this.#anchored(() => this.#options.freshness.anchor())
  }

  close(): void {
    const { disk } = this.#context
    try {
      if (this.#failure === undefined) {
        this.#step({ close: true }, {}, nothing)
        this.#sync()
        this.#anchored(() => this.#options.freshness.anchor())
        this.#attempt(() => disk.trim(this.#writer.fd, this.#writer.offset))
      }
    } finally {
      this.#room.close()
      this.#cache.close()
      this.#full.close()
      this.#writer.close()
      disk.close(this.#writer.fd)
      this.#failure = new CofferError("fault", "the store is closed")
      disk.unlock()
    }
  }

  /** Read-only after this: what it could not write or anchor is not the volume's state. */
  get failure(): CofferError | undefined {
    return this.#failure
  }

  #usable(): void {
    if (this.#failure !== undefined) throw this.#failure
  }

  #idOf(segment: number): SegmentId | undefined {
    if (segment === this.#writer.id.number) return this.#writer.id
    return this.#sealed.get(segment)
  }

  /** What the next commit lists of the frames so far and of one more. */
  get #hashesSize(): number {
    return this.#listed ? 32 * (this.#writer.frameCount + 1) : 0
  }

  /** Bytes that must stay free in a segment for the commit that names the next one. */
  get #linkSize(): number {
    return linkSize + this.#hashesSize
  }

  /** Room for `size` more bytes in this segment, or in a new one. */
  #prepare(size: number, use: ReserveUse): void {
    const end = this.#writer.offset + size + this.#linkSize
    if (end <= this.#options.segmentSize) {
      if (end + this.#room.kept(use) > this.#writer.reserved)
        this.#room.ensure(this.#writer, end, use)
      return
    }
    this.#rollOver(this.#generation, {})
    this.#room.ensure(this.#writer, this.#writer.offset + size + this.#linkSize, use)
  }

  #prepareCommit(size: number): void {
    this.#prepare(frameHeaderSize + size + this.#hashesSize, "all")
  }

  /** One commit. Its room must be there already when it is large. */
  #step(flags: CommitFlags, items: StoreItems, records: Uint8Array): void {
    this.#prepareCommit(commitFixedSize + smallItemsSize + records.length)
    this.#write(flags, items, records)
  }

  #write(flags: CommitFlags, items: StoreItems, records: Uint8Array): void {
    const writer = this.#writer
    const frames = writer.takeFrames()
    const sequence = this.#chain.sequence + 1
    const payload = encodeCommit({
      sequence,
      previous: this.#chain.tag,
      digest: frames.digest,
      durable: this.#durable,
      checkpoint: this.#checkpoint,
      flags,
      frameCount: frames.count,
      hashes: frames.hashes,
      items: { ...items, ...this.#seenItem(flags, items) },
      records,
    })
    const { offset, stored } = this.#attempt(() => writer.appendCommit(payload))
    this.#chain = { sequence, tag: commitTag(this.#chain.tag, stored) }
    this.#headOffset = offset
    this.#logSize += stored.length
  }

  // The room for a commit that names the next segment was set aside before.
  #seenItem({ checkpoint }: CommitFlags, { begin, next }: StoreItems): StoreItems {
    const anyway = checkpoint === true || begin !== undefined
    return next === undefined ? this.#options.freshness.seenFor(anyway) : {}
  }

  #begin(
    { fd, salt, reserved }: NewFile,
    number: number,
    previous: (SegmentId & { readonly end: number }) | undefined,
    items: StoreItems,
  ): SegmentWriter {
    const { disk, keys, header } = this.#context
    if (keys === undefined) throw new TypeError("a writer needs the volume's key")
    const id = { number, generation: this.#generation, salt }
    const key = keys.get(this.#generation)
    const writer = new SegmentWriter(disk, fd, key, header, id, this.#run, this.#options.entropy)
    writer.reserved = reserved
    this.#writer = writer
    this.#newNames = true
    const begin = { number, generation: this.#generation, previous }
    // The very first commit is a checkpoint of nothing, so that every chain has one to start from.
    if (this.#chain.sequence === 0) {
      this.#write({ checkpoint: true }, { begin, ...items, table: [] }, nothing)
      this.#checkpoint = { ...this.#chain, segment: number, offset: segmentHeaderSize }
    } else this.#write({}, { begin, ...items }, nothing)
    return writer
  }

  #rollOver(generation: number, items: StoreItems): void {
    if (this.#sealed.count + 2 > maxSegmentCount) throw tooManySegments()
    const writer = this.#writer
    const number = writer.id.number + 1
    const file = this.#attempt(() => this.#room.take())
    const next = { number, generation, salt: file.salt }
    this.#write({}, { next }, nothing)
    this.#attempt(() => writer.write())
    const end = writer.offset
    this.#sealed.add({ ...writer.id, end, lastTag: this.#chain.tag })
    this.#full.add(writer.fd, end)
    this.#room.scale(this.#sealed.size)
    this.#generation = generation
    this.#begin(file, number, { ...writer.id, end }, items)
    writer.close()
  }

  /** Everything up to the newest commit is on the disk when this returns, and anchored as the mode wants it. */
  #sync(): void {
    const { disk } = this.#context
    const { freshness } = this.#options
    const state = this.#anchorState()
    this.#attempt(() => {
      this.#ahead.prepare(disk, this.#writer, this.#options.segmentSize, this.#options.now())
      this.#writer.writeLast()
      freshness.prepare(state)
      this.#full.sync()
      disk.sync(this.#writer.fd)
      if (this.#newNames) disk.syncDirectory()
      this.#newNames = false
      this.#full.finish()
    })
    this.#durable = this.#chain.sequence
    this.#anchored(() => freshness.durable(state))
  }

  #anchorState(): AnchorState {
    const { id } = this.#writer
    const { sequence, tag } = this.#chain
    const volumeId = this.#context.header.id
    return { volumeId, sequence, tag, epoch: this.#epoch, salt: id.salt, offset: this.#headOffset }
  }

  // A failed write or fdatasync is never tried again: the kernel may have dropped the pages and call the next one a success.
  #attempt<T>(work: () => T): T {
    try {
      return work()
    } catch (error) {
      const cause = fromSystem(error, this.#context.disk.path)
      if (!(cause instanceof CofferError)) throw cause
      if (cause.reason === "disk-full") throw cause
      throw this.#fail(cause)
    }
  }

  #orFail(work: () => void): void {
    try {
      work()
    } catch (error) {
      throw this.#failure ?? this.#fail(error)
    }
  }

  #fail(cause: unknown): CofferError {
    this.#failure = writeFailed(cause)
    return this.#failure
  }

  #anchored(work: () => void): void {
    try {
      work()
    } catch (error) {
      // A refusal means that another writer owns the volume. Other errors may pass: the next commit tries again.
      if (error instanceof CofferError && error.code === "rollback") this.#failure = error
      throw error
    }
  }

  #drop(entries: readonly TableEntry[]): void {
    const { garbage } = this.#options
    for (const entry of entries) {
      garbage.add({
        path: segmentPath(entry.salt),
        segment: entry.number,
        checkpoint: this.#checkpoint.sequence,
        size: entry.end,
      })
      this.#cache.forget(entry.number)
    }
    this.#room.scale(this.#sealed.size)
    this.#collect(false)
  }

  #collect(hurry: boolean): boolean {
    const { garbage, freshness } = this.#options
    // What waits for the anchor alone need not wait when room is needed now.
    if (hurry && garbage.size > 0) this.#anchored(() => freshness.retry())
    return garbage.collect(freshness.sequence, hurry).length > 0
  }
}

const nothing = new Uint8Array(0)
const idleMs = 1000
