import { concatBytes, equalBytes, toHex, utf8, utf8OfByteString } from "../bytes/index.ts"
import { labelBytes, sha256 } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"
import { type DirectoryNode, type OnProgress, treeDigest } from "../tree/index.ts"
import { Clock } from "./fs/clock.ts"
import { importTree } from "./fs/import-tree.ts"
import { VolumeFileSystem } from "./fs/volume-fs.ts"
import { commitFixedSize } from "./store/commit.ts"
import type { Disk } from "./store/disk.ts"
import { derivedEntropy } from "./store/entropy.ts"
import { encodeVolumeHeader, frameHeaderSize, type Protection } from "./store/format.ts"
import { NodeDisk } from "./store/node-disk.ts"
import { createStore, type OpenedStore, openStoreForReading, readHeader } from "./store/open.ts"
import type { ReadStore } from "./store/read-store.ts"
import { readSegmentHeader } from "./store/recover.ts"

export interface WriteOnceInput {
  /** Absent, or empty. */
  readonly directory: string
  /** Of an encrypted store; an authenticated one has no secret: its tag alone vouches for it. */
  readonly key: Uint8Array | undefined
  /** Which store of its owner's it is: in its identity, and so in all keys. */
  readonly name: string
  readonly tree: DirectoryNode
  readonly onProgress: OnProgress
}

const segmentSize = 256 * 1024 * 1024
/** Authenticated stores are read by their hashes, so whoever knows this key can do nothing with it. */
const noSecret = new Uint8Array(32)

/**
 * Writes a volume with this tree, once, for readers that know its tag: the same key, name and tree give the same bytes,
 * on every machine. Its times are those of the tree; where the tree has none, 1970. Not synced: the directory is scratch.
 */
export function writeOnce(input: WriteOnceInput): { readonly tag: Uint8Array } {
  const { directory, key = noSecret, name, tree, onProgress } = input
  const protection: Protection = input.key === undefined ? "authenticated" : "encrypted"
  const volumeId = sha256(concatBytes(labelBytes("volumeStoreId"), utf8(name)))
  const header = encodeVolumeHeader(volumeId, protection)
  const entropy = derivedEntropy(key, concatBytes(header, utf8(treeDigest(tree))))
  const settings = { segmentSize, entropy, now: () => 0 }
  const disk = new ScratchDisk(directory)
  const { store, recovery } = createStore({ disk, key, protection, volumeId, settings })
  const words = Buffer.from(entropy.salt())
  let fault: Error | undefined
  const fs = new Unhurried(store, recovery, {
    clock: new StoppedClock(),
    random: () => [words.readUInt32LE(0), words.readUInt32LE(4)],
    report: (error) => {
      fault ??= error instanceof Error ? error : new Error(String(error))
    },
  })
  try {
    importTree(fs, tree, utf8OfByteString("/"), onProgress)
  } finally {
    fs.destroy()
  }
  if (fault !== undefined) throw fault
  return { tag: store.tag }
}

/** What nobody keeps after a crash needs no sync. */
class ScratchDisk extends NodeDisk {
  override sync(): void {}
  override syncDirectory(): void {}
}

class StoppedClock extends Clock {
  override now(): this {
    return this
  }
}

/** Does nothing by the clock: when it checkpoints depends on what was written alone. */
class Unhurried extends VolumeFileSystem {
  override tick(): number {
    return 10_000
  }
}

export interface ReadOnceInput {
  readonly disk: Disk
  /** Undefined: an authenticated store. */
  readonly key: Uint8Array | undefined
  /** 32 bytes, from a policy or the measured manifest. */
  readonly tag: Uint8Array
}

/** The last commit of such a store: it ends it, and has nothing else in it. */
const closeSize = frameHeaderSize + commitFixedSize

/**
 * Opens a store that was written once, at exactly this tag. Another version of it, older or newer, is `rollback` and
 * changed bytes are `integrity`; what is read later is verified when it is read.
 */
export function openOnce({ disk, key, tag }: ReadOnceInput): OpenedStore<ReadStore> {
  const expect = { protection: key === undefined ? "authenticated" : "encrypted" } as const
  const header = readHeader({ disk, expect })
  const last = lastSegment({ disk, header, keys: undefined })
  const state = { volumeId: header.id, sequence: 0, tag, epoch: 0, ...last }
  const anchor = { name: "tag", read: () => state, move: () => false, close: () => undefined }
  try {
    return openStoreForReading({ disk, key, anchor, expect })
  } catch (error) {
    throw explained(error, { disk, key, tag })
  }
}

/** The tag of a store as it lies there: for whoever has reason to trust the image that holds it, for once. */
export function tagOnce({ disk, key }: Omit<ReadOnceInput, "tag">): Uint8Array {
  const { store, info } = openStoreForReading({ disk, key })
  store.close()
  return info.tag
}

type Context = Parameters<typeof readSegmentHeader>[0]

/** Where the last commit is, as the disk says: a hint, since the tag is what counts. */
function lastSegment(context: Context): { readonly salt: Uint8Array; readonly offset: number } {
  const { disk } = context
  let found: { number: number; salt: Uint8Array; name: string } = {
    number: 0,
    salt: new Uint8Array(32),
    name: "",
  }
  for (const name of disk.segments()) {
    const header = readSegmentHeader(context, name)
    if (header !== undefined && header.number > found.number) found = { ...header, name }
  }
  if (found.name === "") return { salt: found.salt, offset: 0 }
  const fd = disk.open(`segments/${found.name}`)
  const size = disk.size(fd)
  disk.close(fd)
  return { salt: found.salt, offset: Math.max(0, size - closeSize) }
}

/** Is it another version, whole, or is it damaged? */
function explained(error: unknown, { disk, key, tag }: ReadOnceInput): unknown {
  if (!(error instanceof CofferError) || error.reason === "wrong-key") return error
  let other: Uint8Array
  try {
    const { store, info } = openStoreForReading({ disk, key })
    store.close()
    other = info.tag
  } catch {
    return damaged(error)
  }
  if (equalBytes(other, tag)) return damaged(error)
  return new CofferError(
    "rollback",
    `wanted the content with tag ${short(tag)}, found another version, with tag ${short(other)}`,
    {
      reason: "other-content",
      facts: { wanted: toHex(tag), found: toHex(other) },
      cause: error,
      hint: "an older content was put in its place, or this one is newer than the policy: then put its tag into the policy",
    },
  )
}

function damaged(cause: CofferError): CofferError {
  if (cause.code === "integrity") return cause
  return new CofferError(
    "integrity",
    `wanted a whole store, found it cut or changed: ${cause.message}`,
    {
      reason: "damaged-store",
      facts: cause.facts,
      cause,
    },
  )
}

function short(tag: Uint8Array): string {
  return `${toHex(tag).slice(0, 16)}…`
}
