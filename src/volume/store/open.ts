import { equalBytes, toHex } from "../../bytes/index.ts"
import { randomBytes } from "../../crypto/index.ts"
import { CofferError, fromSystem, isErrno } from "../../errors.ts"
import type { FrameStore, Recovery } from "../frame-store.ts"
import type { Anchor, AnchorState } from "./anchor.ts"
import type { StoreItems } from "./commit.ts"
import type { Disk } from "./disk.ts"
import { type Entropy, kernelEntropy } from "./entropy.ts"
import {
  decodeVolumeHeader,
  encodeVolumeHeader,
  type Protection,
  segmentName,
  type VolumeHeader,
  volumeHeaderSize,
} from "./format.ts"
import { type Freshness, FreshnessKeeper } from "./freshness.ts"
import { Garbage } from "./garbage.ts"
import { KeyRing } from "./keys.ts"
import { ReadStore } from "./read-store.ts"
import { readSegmentHeader, recoverAnchored, recoverUnanchored } from "./recover.ts"
import type { Recovered } from "./replay.ts"
import { segmentPath, type VolumeContext } from "./segments.ts"
import { VolumeStore } from "./store.ts"
import { requireNotBehind } from "./words.ts"

const mebi = 1024 * 1024
/** What the writer makes; the format allows 256 MiB. Small ones are quick to compact, large ones keep the table of a large volume short. */
const smallSegment = 64 * mebi
const leastSegment = 1.5 * mebi
const largeSegment = 256 * mebi
const manySegments = 4096

export interface WriteSettings {
  readonly freshness?: Freshness
  /** How long a segment that nothing names stays for readers of older tags. */
  readonly readerGraceMs?: number
  readonly segmentSize?: number
  readonly now?: () => number
  /** The kernel's, unless the store is written once. */
  readonly entropy?: Entropy
}

export interface StoreInfo {
  readonly volumeId: Uint8Array
  readonly protection: Protection
  readonly sequence: number
  readonly tag: Uint8Array
  readonly epoch: number
  readonly generation: number
}

export interface OpenedStore<S extends FrameStore = FrameStore> {
  readonly store: S
  readonly recovery: Recovery
  readonly info: StoreInfo
}

export interface CreateOptions {
  readonly disk: Disk
  readonly key: Uint8Array
  readonly protection: Protection
  /** In state `new`. */
  readonly anchor?: Anchor
  /** Given by a policy; else random. */
  readonly volumeId?: Uint8Array
  readonly settings?: WriteSettings
}

/** Makes a new, empty volume and opens it. The disk's directory must be absent or empty. */
export function createStore(options: CreateOptions): OpenedStore<VolumeStore> {
  const { disk, key, protection, anchor, settings = {} } = options
  if (anchor !== undefined && anchor.read() !== "new")
    throw new CofferError("rollback", `${anchor.name}: wanted a new volume, it knows one already`, {
      reason: "not-new",
      hint: "mount the volume that it knows, or reset it with authority",
    })
  const id = options.volumeId ?? randomBytes(32)
  const bytes = encodeVolumeHeader(id, protection)
  try {
    disk.initialise()
    if (!disk.lock()) throw inUse(disk)
    const fd = disk.create("header")
    disk.write(fd, bytes, 0, bytes.length, 0)
    disk.sync(fd)
    disk.close(fd)
  } catch (error) {
    if (isErrno(error, "EEXIST"))
      throw new CofferError(
        "config",
        `${disk.path}: wanted a new or empty directory, found files in it`,
        {
          hint: "name another directory, or mount the volume that is there",
          cause: error,
        },
      )
    throw fromSystem(error, disk.path)
  }
  const header = decodeVolumeHeader(bytes)
  const keys = new KeyRing(key)
  keys.add(0, key)
  const context: VolumeContext = { disk, header, keys }
  const zeros = new Uint8Array(32)
  const nowhere = { number: 0, generation: 0, salt: zeros }
  const recovered: Recovered = {
    head: { id: nowhere, sequence: 0, tag: zeros, offset: 0, end: 0 },
    checkpoint: { sequence: 0, tag: zeros, segment: 0, offset: 0 },
    state: undefined,
    records: [],
    table: new Map(),
    logSize: 0,
    wrappedKeys: [],
    epoch: 0,
  }
  try {
    return begin(context, recovered, "new", anchor, settings)
  } catch (error) {
    disk.unlock()
    throw error
  }
}

export interface OpenOptions {
  readonly disk: Disk
  /** Undefined: read an authenticated volume without its key. */
  readonly key: Uint8Array | undefined
  readonly anchor?: Anchor
  /** From a policy: a header that says otherwise is a rollback. */
  readonly expect?: { readonly volumeId?: Uint8Array; readonly protection?: Protection }
}

/** Opens for writing: takes the lock, picks the head, writes an open commit and anchors it. */
export function openStore(
  options: OpenOptions & { readonly key: Uint8Array; readonly settings?: WriteSettings },
): OpenedStore<VolumeStore> {
  const { disk, key, anchor, settings = {} } = options
  const header = readHeader(options)
  lock(disk)
  try {
    const context: VolumeContext = { disk, header, keys: new KeyRing(key) }
    const held = knownState(anchor)
    const recovered =
      held === undefined
        ? recoverUnanchored(context, "write")
        : recoverAnchored(context, held, "write")
    requireNotBehind(anchor, context, recovered)
    return begin(context, recovered, held, anchor, settings)
  } catch (error) {
    disk.unlock()
    throw error
  }
}

/** Opens for reading: exactly the anchored tag; without an anchor the newest state that the disk shows. */
export function openStoreForReading(options: OpenOptions): OpenedStore<ReadStore> {
  const { disk, key, anchor } = options
  const header = readHeader(options)
  if (key === undefined && header.protection !== "authenticated")
    throw new CofferError("config", "wanted the volume's key: it is an encrypted one", {
      hint: "give --key-file",
    })
  const keys = key === undefined ? undefined : new KeyRing(key)
  const context: VolumeContext = { disk, header, keys }
  const held = knownState(anchor)
  const recovered =
    held === undefined ? recoverUnanchored(context, "read") : recoverAnchored(context, held, "read")
  requireNotBehind(anchor, context, recovered)
  const superseded = () => {
    const now = anchor?.read()
    return now !== undefined && now !== "new" && !equalBytes(now.tag, recovered.head.tag)
  }
  const store = new ReadStore(context, recovered, superseded, held !== undefined)
  const info = infoOf(header, recovered)
  return {
    store,
    recovery: recoveryOf(recovered),
    info: held === undefined ? info : { ...info, epoch: held.epoch },
  }
}

/** The public header, which everything else is bound to. */
export function readHeader({ disk, expect, anchor }: Omit<OpenOptions, "key">): VolumeHeader {
  const bytes = readHeaderFile(disk, anchor)
  const header = decodeVolumeHeader(bytes)
  const { volumeId, protection } = expect ?? {}
  if (volumeId !== undefined && !equalBytes(volumeId, header.id))
    throw new CofferError(
      "rollback",
      `wanted volume ${toHex(volumeId)}, found ${toHex(header.id)}`,
      { reason: "other-volume" },
    )
  if (protection !== undefined && protection !== header.protection)
    throw new CofferError(
      "integrity",
      `wanted protection ${protection}, the volume says ${header.protection}`,
      { reason: "other-protection" },
    )
  return header
}

function readHeaderFile(disk: Disk, anchor: Anchor | undefined): Uint8Array {
  let fd: number
  try {
    fd = disk.open("header")
  } catch (error) {
    // An emptied directory must never pass for a fresh volume.
    const known = anchor !== undefined && anchor.read() !== "new"
    if (known && isErrno(error, "ENOENT", "ENOTDIR"))
      throw new CofferError(
        "rollback",
        `${disk.path}: wanted the volume that ${anchor.name} knows, found none`,
        {
          reason: "emptied",
          hint: "mount the directory that holds the volume; a new volume needs a new pin, or an authorised reset",
          cause: error,
        },
      )
    throw fromSystem(error, `${disk.path}/header`, "is this the volume's directory?")
  }
  try {
    const bytes = Buffer.alloc(volumeHeaderSize + 1)
    return bytes.subarray(0, disk.read(fd, bytes, 0, bytes.length, 0))
  } finally {
    disk.close(fd)
  }
}

function knownState(anchor: Anchor | undefined): AnchorState | undefined {
  const held = anchor?.read()
  if (held === "new")
    throw new CofferError(
      "rollback",
      `${anchor?.name ?? ""}: wanted a pinned volume, the pin is new`,
      {
        reason: "anchor-new",
        hint: "the volume in this directory is not the one that the pin was made for",
      },
    )
  return held
}

function lock(disk: Disk): void {
  try {
    if (!disk.lock()) throw inUse(disk)
  } catch (error) {
    throw fromSystem(
      error,
      `${disk.path}/lock`,
      "mount it with --read-only, or make its directory writable",
    )
  }
}

function inUse(disk: Disk): CofferError {
  return new CofferError("io", `${disk.path}: the volume is in use by another process`, {
    reason: "in-use",
    hint: "stop the other mount; a volume has one writer",
  })
}

function begin(
  context: VolumeContext,
  recovered: Recovered,
  held: AnchorState | "new" | undefined,
  anchor: Anchor | undefined,
  settings: WriteSettings,
): OpenedStore<VolumeStore> {
  const { disk } = context
  const now = settings.now ?? Date.now
  const garbage = new Garbage(disk, settings.readerGraceMs ?? 600_000, now)
  const names = disk.segments()
  const numbers = names.map((name) => readSegmentHeader(context, name)?.number ?? 0)
  const known = new Set([...recovered.table.values()].map(({ salt }) => segmentName(salt)))
  const heldEpoch = held === undefined || held === "new" ? 0 : held.epoch
  const epoch = Math.max(recovered.epoch, heldEpoch) + 1
  const table = recovered.table.size
  const size = settings.segmentSize ?? segmentSizeFor(table, disk)
  const freshness = new FreshnessKeeper(
    anchor,
    settings.freshness ?? { mode: "strict" },
    held ?? "new",
    now,
    recovered.seen,
  )
  // Numbers of dead branches are not used again; the greatest is an adversary's word, so it is bounded.
  const greatest = Math.max(
    recovered.head.id.number,
    ...numbers.filter((number) => number < 2 ** 31),
  )
  const entropy = settings.entropy ?? kernelEntropy
  const items = { open: { epoch, lease: entropy.salt() }, ...restoreOf(held) }
  const store = new VolumeStore(context, recovered, greatest + 1, items, {
    segmentSize: size,
    freshness,
    garbage,
    now,
    entropy,
  })
  const since = lastWritten(disk, recovered)
  for (const name of names)
    if (!known.has(name)) {
      const path = `segments/${name}`
      garbage.add({ path, segment: 0, checkpoint: store.sequence, size: sizeOf(disk, path) }, since)
    }
  return {
    store,
    recovery: recoveryOf(recovered),
    info: infoOf(context.header, recovered, store, epoch),
  }
}

// What lies in the segment that is being written cannot be compacted, so on a small disk it is small too.
function segmentSizeFor(segments: number, disk: Disk): number {
  if (segments > manySegments) return largeSegment
  const share = Math.floor(disk.space().total / 16)
  return Math.min(smallSegment, Math.max(leastSegment, share))
}

/** The first commit of the first writer after an authorised restore says what was replaced by what. */
function restoreOf(held: AnchorState | "new" | undefined): Pick<StoreItems, "restore"> {
  if (held === undefined || held === "new" || held.restoredFrom === undefined) return {}
  return { restore: { from: held.restoredFrom, to: held.tag } }
}

function sizeOf(disk: Disk, path: string): number {
  const fd = disk.open(path)
  try {
    return disk.size(fd)
  } finally {
    disk.close(fd)
  }
}

// What nothing names now was dropped by the last writer at the latest, which ended with the head.
function lastWritten(disk: Disk, { head }: Recovered): number | undefined {
  if (head.sequence === 0) return undefined
  const fd = disk.open(segmentPath(head.id.salt))
  try {
    return disk.modified(fd)
  } finally {
    disk.close(fd)
  }
}

function recoveryOf(recovered: Recovered): Recovery {
  return { checkpoint: recovered.state, records: recovered.records }
}

function infoOf(
  header: VolumeHeader,
  { head, epoch }: Recovered,
  store?: VolumeStore,
  newEpoch = epoch,
): StoreInfo {
  return {
    volumeId: header.id,
    protection: header.protection,
    sequence: store?.sequence ?? head.sequence,
    tag: store?.tag ?? head.tag,
    epoch: newEpoch,
    generation: head.id.generation,
  }
}
