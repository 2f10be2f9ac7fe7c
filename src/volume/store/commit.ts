import { Cursor, concatBytes, type StructTable } from "../../bytes/index.ts"
import { labelBytes, sha256 } from "../../crypto/index.ts"
import { maxSeenSize } from "./anchor.ts"
import { maxFramesPerCommit, type SegmentId } from "./format.ts"

// The payload of a commit frame: spec/volume.md, section 5.

export const commitTable: StructTable = [
  ["sequence", 0, 8],
  ["previous", 8, 32],
  ["digest", 40, 32],
  ["durable", 72, 8],
  ["checkpoint sequence", 80, 8],
  ["checkpoint tag", 88, 32],
  ["checkpoint segment", 120, 4],
  ["checkpoint offset", 124, 4],
  ["flags", 128, 4],
  ["frame count", 132, 4],
  ["store size", 136, 4],
  ["zero", 140, 4],
]
export const commitFixedSize = 144
const storeSizeAt = 136

export interface CheckpointRef {
  readonly sequence: number
  readonly tag: Uint8Array
  readonly segment: number
  readonly offset: number
}

/** How a segment hangs on the one before: what its first commit says. Of the very first segment, `previous` is undefined. */
export interface Begin {
  readonly number: number
  readonly generation: number
  readonly previous: (SegmentId & { readonly end: number }) | undefined
}

export interface TableEntry extends SegmentId {
  /** Where its last commit ends; bytes after that are dead. */
  readonly end: number
  /** The tag of its last commit. */
  readonly lastTag: Uint8Array
}

export interface WrappedKey {
  readonly generation: number
  /** 12-byte nonce, 32 bytes of ciphertext, 16-byte tag. */
  readonly sealed: Uint8Array
}

export interface StoreItems {
  readonly begin?: Begin
  /** The segment that follows this one. Only in the last commit of a segment. */
  readonly next?: SegmentId
  /** An owner has begun to write. */
  readonly open?: { readonly epoch: number; readonly lease: Uint8Array }
  /** All segments before the checkpoint's own that are in use. Only in a checkpoint. */
  readonly table?: readonly TableEntry[]
  /** Keys of older generations under the current one. */
  readonly keys?: readonly WrappedKey[]
  /** An authorised return to an older state: its tag, and the tag of the state that it replaces. */
  readonly restore?: { readonly from: Uint8Array; readonly to: Uint8Array }
  /** What the anchor's keeper has signed of its own history; it is opaque here. */
  readonly seen?: Uint8Array
}

/** `checkpoint`: records are the state that stands for all before. `changes`: records are changes. `more`: the set of changes goes on in the next commit with changes. */
export interface CommitFlags {
  readonly checkpoint?: boolean
  readonly changes?: boolean
  readonly more?: boolean
  readonly close?: boolean
}

const flagBits = { checkpoint: 1, changes: 2, more: 4, close: 8 } as const

export interface Commit {
  readonly sequence: number
  readonly previous: Uint8Array
  /** SHA-256 over the headers of all data and index frames since the predecessor. */
  readonly digest: Uint8Array
  /** The newest commit that was known to be on the disk when this one was written. */
  readonly durable: number
  /** The newest checkpoint before this commit; zeros in the first. */
  readonly checkpoint: CheckpointRef
  readonly flags: CommitFlags
  /** Data and index frames since the predecessor. */
  readonly frameCount: number
  /** Of an authenticated volume, SHA-256 of each of these frames' payloads, one after the other; else empty. */
  readonly hashes: Uint8Array
  readonly items: StoreItems
  readonly records: Uint8Array
}

type ItemName = keyof StoreItems
const itemTypes: readonly ItemName[] = ["begin", "next", "open", "table", "keys", "restore", "seen"]

class Writer {
  #buffer = Buffer.allocUnsafe(1024)
  #size = 0

  get size(): number {
    return this.#size
  }

  u32(...values: readonly number[]): this {
    const at = this.#room(4 * values.length)
    for (const [i, value] of values.entries()) this.#buffer.writeUInt32LE(value, at + 4 * i)
    return this
  }
  u64(value: number): this {
    const at = this.#room(8)
    this.#buffer.writeUInt32LE(value % two32, at)
    this.#buffer.writeUInt32LE(Math.floor(value / two32), at + 4)
    return this
  }
  bytes(bytes: Uint8Array): this {
    const at = this.#room(bytes.length)
    this.#buffer.set(bytes, at)
    return this
  }
  /** Says at `at` what could not be known before. */
  setU32(at: number, value: number): void {
    this.#buffer.writeUInt32LE(value, at)
  }
  /** A view: nothing may be written after it. */
  done(): Buffer {
    return this.#buffer.subarray(0, this.#size)
  }

  #room(size: number): number {
    const at = this.#size
    this.#size += size
    if (this.#size <= this.#buffer.length) return at
    const larger = Buffer.allocUnsafe(2 * this.#size)
    larger.set(this.#buffer.subarray(0, at))
    this.#buffer = larger
    return at
  }
}

const two32 = 2 ** 32

const zeroSalt = new Uint8Array(32)

type Encoders = {
  readonly [Name in ItemName]: (item: NonNullable<StoreItems[Name]>, out: Writer) => void
}

const encoders: Encoders = {
  begin({ number, generation, previous }, out) {
    out.u32(number, generation, previous?.number ?? 0, previous?.generation ?? 0)
    out.u32(previous?.end ?? 0, 0).bytes(previous?.salt ?? zeroSalt)
  },
  next({ number, generation, salt }, out) {
    out.u32(number, generation).bytes(salt)
  },
  open({ epoch, lease }, out) {
    out.u64(epoch).bytes(lease)
  },
  table(entries, out) {
    for (const { number, generation, end, salt, lastTag } of entries)
      out.u32(number, generation, end, 0).bytes(salt).bytes(lastTag)
  },
  keys(wrapped, out) {
    for (const { generation, sealed } of wrapped) out.u32(generation).bytes(sealed)
  },
  restore({ from, to }, out) {
    out.bytes(from).bytes(to)
  },
  seen(word, out) {
    out.bytes(word)
  },
}

function encodeItems(items: StoreItems, out: Writer): void {
  for (const [i, name] of itemTypes.entries()) {
    const item = items[name]
    if (item === undefined) continue
    const encode = encoders[name] as (item: StoreItems[ItemName], out: Writer) => void
    const begin = out.u32(i + 1, 0).size
    encode(item, out)
    out.setU32(begin - 4, out.size - begin)
  }
}

/** A buffer of its own. */
export function encodeCommit(commit: Commit): Buffer {
  const flags = (Object.keys(flagBits) as (keyof CommitFlags)[]).reduce(
    (bits, name) => bits | (commit.flags[name] === true ? flagBits[name] : 0),
    0,
  )
  const { checkpoint, items } = commit
  const out = new Writer()
    .u64(commit.sequence)
    .bytes(commit.previous)
    .bytes(commit.digest)
    .u64(commit.durable)
    .u64(checkpoint.sequence)
    .bytes(checkpoint.tag)
    .u32(checkpoint.segment, checkpoint.offset, flags, commit.frameCount, 0, 0)
    .bytes(commit.hashes)
  const begin = out.size
  encodeItems(items, out)
  out.setU32(storeSizeAt, out.size - begin)
  return out.bytes(commit.records).done()
}

function decodeBegin(cursor: Cursor): Begin {
  const number = cursor.u32("number")
  const generation = cursor.u32("generation")
  const previous = {
    number: cursor.u32("previous number"),
    generation: cursor.u32("previous generation"),
    end: cursor.u32("previous end"),
  }
  cursor.zeros(4, "zero")
  const salt = Uint8Array.from(cursor.bytes(32, "previous salt"))
  return { number, generation, previous: previous.number === 0 ? undefined : { ...previous, salt } }
}

function decodeTable(cursor: Cursor): TableEntry[] {
  const table: TableEntry[] = []
  while (cursor.remaining > 0) {
    const number = cursor.u32("number")
    if (number <= (table.at(-1)?.number ?? 0))
      throw cursor.fault("number", "rising numbers", String(number))
    const [generation, end] = [cursor.u32("generation"), cursor.u32("end")]
    cursor.zeros(4, "zero")
    const salt = Uint8Array.from(cursor.bytes(32, "salt"))
    table.push({ number, generation, end, salt, lastTag: Uint8Array.from(cursor.bytes(32, "tag")) })
  }
  return table
}

function decodeItem(name: ItemName, body: Uint8Array): StoreItems {
  const cursor = new Cursor(body, `commit: ${name}`)
  const items = decodeBody(name, cursor)
  cursor.end()
  return items
}

function decodeBody(name: ItemName, cursor: Cursor): StoreItems {
  switch (name) {
    case "begin":
      return { begin: decodeBegin(cursor) }
    case "next": {
      const [number, generation] = [cursor.u32("number"), cursor.u32("generation")]
      return { next: { number, generation, salt: Uint8Array.from(cursor.bytes(32, "salt")) } }
    }
    case "open":
      return {
        open: { epoch: cursor.size("epoch"), lease: Uint8Array.from(cursor.bytes(32, "lease")) },
      }
    case "table":
      return { table: decodeTable(cursor) }
    case "keys": {
      const keys: WrappedKey[] = []
      while (cursor.remaining > 0)
        keys.push({
          generation: cursor.u32("generation"),
          sealed: Uint8Array.from(cursor.bytes(60, "sealed")),
        })
      return { keys }
    }
    case "restore": {
      const from = Uint8Array.from(cursor.bytes(32, "from"))
      return { restore: { from, to: Uint8Array.from(cursor.bytes(32, "to")) } }
    }
    case "seen":
      if (cursor.remaining > maxSeenSize)
        throw cursor.fault("seen", `at most ${maxSeenSize} bytes`, String(cursor.remaining))
      return { seen: Uint8Array.from(cursor.bytes(cursor.remaining, "seen")) }
  }
}

function decodeItems(cursor: Cursor): StoreItems {
  let items: StoreItems = {}
  let last = 0
  while (cursor.remaining > 0) {
    const type = cursor.u32("item type")
    const name = itemTypes[type - 1]
    if (name === undefined || type <= last)
      throw cursor.fault("item type", `one of ${last + 1} to ${itemTypes.length}`, String(type))
    last = type
    items = { ...items, ...decodeItem(name, cursor.bytes(cursor.u32("item size"), name)) }
  }
  return items
}

function decodeFlags(bits: number, cursor: Cursor): CommitFlags {
  if (bits > 15) throw cursor.fault("flags", "at most 15", String(bits))
  const has = (name: keyof CommitFlags) => (bits & flagBits[name]) !== 0
  return {
    checkpoint: has("checkpoint"),
    changes: has("changes"),
    more: has("more"),
    close: has("close"),
  }
}

/** The payload of an authentic commit frame. Records and hashes are views of it. `listed`: the volume is an authenticated one. */
export function decodeCommit(payload: Uint8Array, listed: boolean): Commit {
  const cursor = new Cursor(payload, "commit")
  const sequence = cursor.size("sequence")
  const previous = Uint8Array.from(cursor.bytes(32, "previous"))
  const digest = Uint8Array.from(cursor.bytes(32, "digest"))
  const durable = cursor.size("durable")
  const checkpoint = {
    sequence: cursor.size("checkpoint sequence"),
    tag: Uint8Array.from(cursor.bytes(32, "checkpoint tag")),
    segment: cursor.u32("checkpoint segment"),
    offset: cursor.u32("checkpoint offset"),
  }
  const flags = decodeFlags(cursor.u32("flags"), cursor)
  const frameCount = cursor.u32("frame count")
  if (frameCount > maxFramesPerCommit)
    throw cursor.fault("frame count", `at most ${maxFramesPerCommit}`, String(frameCount))
  const storeSize = cursor.u32("store size")
  cursor.zeros(4, "zero")
  const hashes = cursor.bytes(listed ? 32 * frameCount : 0, "hashes")
  const items = decodeItems(new Cursor(cursor.bytes(storeSize, "store"), "commit: store"))
  const records = cursor.bytes(cursor.remaining, "records")
  if (records.length > 0 && flags.changes !== true && flags.checkpoint !== true)
    throw cursor.fault("records", "none", `${records.length} bytes`)
  const fixed = { sequence, previous, digest, durable, checkpoint, flags, frameCount }
  return { ...fixed, hashes, items, records }
}

const tagLabel = labelBytes("volumeCommitTag")

/** `frame`: the commit frame as it is stored, header and all. */
export function commitTag(previous: Uint8Array, frame: Uint8Array): Uint8Array {
  return sha256(concatBytes(tagLabel, previous, frame))
}
