import {
  closeSync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs"
import { dirname } from "node:path"
import { Cursor, concatBytes, equalBytes, type StructTable, utf8 } from "../../bytes/index.ts"
import { sha256 } from "../../crypto/index.ts"
import { CofferError, fromSystem, isErrno } from "../../errors.ts"
import { tryLock, unlock } from "../../sys/index.ts"
import { type Anchor, type AnchorState, sameState } from "./anchor.ts"

// Spec: spec/volume.md, section 8. Two slots that are written in turn: a torn write leaves the older one, which is the
// state before a move that nobody was told of.
export const pinSlotTable: StructTable = [
  ["magic", 0, 8],
  ["version", 8, 4],
  ["zero", 12, 4],
  ["volume id", 16, 32],
  ["count", 48, 8],
  ["epoch", 56, 8],
  ["sequence", 64, 8],
  ["tag", 72, 32],
  ["salt", 104, 32],
  ["offset", 136, 8],
  ["checksum", 144, 32],
]
export const pinSlotSize = 176
const slotDistance = 4096
const fileSize = 2 * slotDistance
/** Up to the end of the second slot. */
const readSize = slotDistance + pinSlotSize
const magic = utf8("COFFERP\0")

interface Slot {
  /** Rises with each write: the slot with the greater one counts. */
  readonly count: number
  readonly state: AnchorState | "new"
}

function u64(value: number): Uint8Array {
  const out = Buffer.alloc(8)
  out.writeBigUInt64LE(BigInt(value))
  return out
}

export function encodePinSlot({ count, state }: Slot): Uint8Array {
  const numbers = Buffer.alloc(8)
  numbers.writeUInt32LE(1, 0)
  const known = state === "new" ? undefined : state
  const zeros = new Uint8Array(32)
  const start = concatBytes(
    magic,
    numbers,
    known?.volumeId ?? zeros,
    u64(count),
    u64(known?.epoch ?? 0),
    u64(known?.sequence ?? 0),
    known?.tag ?? zeros,
    known?.salt ?? zeros,
    u64(known?.offset ?? 0),
  )
  return concatBytes(start, sha256(start))
}

/** Undefined for a slot that was never written, or torn. */
export function decodePinSlot(bytes: Uint8Array): Slot | undefined {
  if (bytes.length !== pinSlotSize) return undefined
  if (!equalBytes(sha256(bytes.subarray(0, 144)), bytes.subarray(144))) return undefined
  const cursor = new Cursor(bytes, "pin file")
  cursor.expect(magic, "magic")
  const version = cursor.u32("version")
  if (version !== 1)
    throw new CofferError("config", `pin file: wanted format version 1, found ${version}`)
  cursor.zeros(4, "zero")
  const volumeId = Uint8Array.from(cursor.bytes(32, "volume id"))
  const count = cursor.size("count")
  const [epoch, sequence] = [cursor.size("epoch"), cursor.size("sequence")]
  const tag = Uint8Array.from(cursor.bytes(32, "tag"))
  const salt = Uint8Array.from(cursor.bytes(32, "salt"))
  const offset = cursor.size("offset")
  if (sequence === 0) return { count, state: "new" }
  return { count, state: { volumeId, epoch, sequence, tag, salt, offset } }
}

/** Keeps the tag of a volume that is used alone. The file must be where the adversary cannot write. */
export class PinFile implements Anchor {
  readonly name: string
  readonly #fd: number
  /** What was read or written last: as long as the file holds the same bytes, they need not be decoded again. */
  #last: { readonly bytes: Buffer; readonly slot: Slot } | undefined
  #broken = false

  private constructor(path: string, fd: number) {
    this.name = `pin file ${path}`
    this.#fd = fd
  }

  /** A new file in state `new`. An existing one stays as it is, and is refused. */
  static create(path: string): PinFile {
    const fd = openOrThrow(path, "wx+")
    const pin = new PinFile(path, fd)
    writeSync(fd, Buffer.alloc(fileSize), 0, fileSize, 0)
    pin.#write({ count: 1, state: "new" })
    const folder = openSync(dirname(path), "r")
    fsyncSync(folder)
    closeSync(folder)
    return pin
  }

  static open(path: string, access: "read" | "write"): PinFile {
    return new PinFile(path, openOrThrow(path, access === "read" ? "r" : "r+"))
  }

  read(): AnchorState | "new" {
    return this.#read().state
  }

  move(from: AnchorState | "new", to: AnchorState): boolean {
    return this.#locked(() => {
      const held = this.#read()
      if (sameState(held.state, to)) return true
      if (!sameState(held.state, from)) return false
      this.#write({ count: held.count + 1, state: to })
      return true
    })
  }

  close(): void {
    closeSync(this.#fd)
  }

  /** Each anchor has opened the file itself, so the lock also holds between two anchors of one process. */
  #locked(work: () => boolean): boolean {
    while (!tryLock(this.#fd)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    try {
      return work()
    } finally {
      unlock(this.#fd)
    }
  }

  #read(): Slot {
    if (this.#broken)
      throw new CofferError("io", `${this.name}: a sync has failed, found no way to go on`, {
        hint: "look at its disk, then open the volume again",
      })
    const bytes = Buffer.allocUnsafe(readSize)
    const size = readSync(this.#fd, bytes, 0, readSize, 0)
    if (size === readSize && this.#last?.bytes.equals(bytes) === true) return this.#last.slot
    const slot = this.#newest(bytes.subarray(0, size))
    this.#last = size === readSize ? { bytes, slot } : undefined
    return slot
  }

  #newest(bytes: Buffer): Slot {
    const slots = [0, slotDistance]
      .map((at) => decodePinSlot(bytes.subarray(at, at + pinSlotSize)))
      .filter((slot) => slot !== undefined)
      .toSorted((a, b) => b.count - a.count)
    const [newest] = slots
    if (newest === undefined)
      throw new CofferError("rollback", `${this.name}: wanted a pin, found neither slot whole`, {
        hint: "restore the pin file; without it nothing shows that the volume is its newest state",
      })
    return newest
  }

  #write(slot: Slot): void {
    const bytes = encodePinSlot(slot)
    const at = (slot.count % 2) * slotDistance
    const held = this.#last?.bytes
    this.#last = undefined
    writeSync(this.#fd, bytes, 0, bytes.length, at)
    this.#sync()
    if (held === undefined) return
    held.set(bytes, at)
    this.#last = { bytes: held, slot }
  }

  /** The file says by now what the disk may never have: a second look, or a second sync, would call the move a success. */
  #sync(): void {
    try {
      fdatasyncSync(this.#fd)
    } catch (error) {
      this.#broken = true
      throw fromSystem(error, `syncing the ${this.name}`)
    }
  }
}

function openOrThrow(path: string, flags: string): number {
  try {
    const fd = openSync(path, flags, 0o600)
    if (fstatSync(fd).isFile()) return fd
    closeSync(fd)
  } catch (error) {
    if (isErrno(error, "EEXIST"))
      throw new CofferError("config", `pin file ${path}: wanted no file, found one`, {
        hint: "it may be the pin of another volume: choose another name",
        cause: error,
      })
    // A lost pin must not pass for a fresh volume, so it is a rollback, not a missing file.
    if (isErrno(error, "ENOENT"))
      throw new CofferError(
        "rollback",
        `pin file ${path}: wanted the volume's pin, found no file`,
        {
          hint: "restore the pin file; without it nothing shows that the volume is its newest state",
          cause: error,
        },
      )
    throw fromSystem(error, `pin file ${path}`)
  }
  throw new CofferError("config", `pin file ${path}: wanted a file, found another thing`)
}
