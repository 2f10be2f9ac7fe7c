/**
 * Makes test/vectors/volume: volumes whose every random byte is fixed, what they hold, and changed ones with what each must
 * fail with. Deterministic: the same files on every machine. `--check` only compares.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { concatBytes, toHex, utf8 } from "../src/bytes/index.ts"
import { sha256 } from "../src/crypto/index.ts"
import { SegmentCipher } from "../src/volume/store/cipher.ts"
import {
  type CheckpointRef,
  type CommitFlags,
  commitTag,
  encodeCommit,
  type StoreItems,
} from "../src/volume/store/commit.ts"
import {
  decodeVolumeHeader,
  encodeVolumeHeader,
  frameHeaderSize,
  kindCode,
  type Protection,
  type SegmentId,
  segmentHeaderSize,
  type VolumeHeader,
} from "../src/volume/store/format.ts"
import { segmentHeaderBytes, wrapOldKey } from "../src/volume/store/keys.ts"
import { encodePinSlot } from "../src/volume/store/pin-file.ts"

const folder = join(import.meta.dirname, "../test/vectors/volume")

/** 32 bytes that stand for random ones. */
function fixed(name: string): Uint8Array {
  return sha256(utf8(`coffer vector ${name}`))
}

interface VectorFrame {
  readonly kind: "data" | "index"
  readonly segment: number
  readonly offset: number
  readonly size: number
  readonly sha256: string
}

interface Chain {
  sequence: number
  tag: Uint8Array
  checkpoint: CheckpointRef
}

/** Writes segments by the letter of the spec: no buffer, no disk. */
class VectorWriter {
  readonly header: VolumeHeader
  readonly files = new Map<string, Uint8Array>()
  readonly frames: VectorFrame[] = []
  chain: Chain
  #headers: Uint8Array[] = []
  #hashes: Uint8Array[] = []
  #id: SegmentId = { number: 0, generation: 0, salt: new Uint8Array(32) }
  #bytes: Uint8Array = new Uint8Array(0)
  #count = 0
  headOffset = 0

  constructor(protection: Protection) {
    const bytes = encodeVolumeHeader(fixed("volume id"), protection)
    this.header = decodeVolumeHeader(bytes)
    this.files.set("header", bytes)
    const tag = new Uint8Array(32)
    this.chain = { sequence: 0, tag, checkpoint: { sequence: 0, tag, segment: 0, offset: 0 } }
  }

  get id(): SegmentId {
    return this.#id
  }

  get end(): number {
    return this.#bytes.length
  }

  key(generation = this.#id.generation): Uint8Array {
    return fixed(`key ${generation}`)
  }

  segment(number: number, generation = 0): SegmentId {
    return { number, generation, salt: fixed(`salt ${number}`) }
  }

  begin(id: SegmentId): void {
    this.#id = id
    this.#bytes = segmentHeaderBytes(this.key(), this.header, id)
    this.#count = 0
  }

  frame(kind: "data" | "index", payload: Uint8Array): void {
    const offset = this.#bytes.length
    const { number } = this.#id
    this.frames.push({
      kind,
      segment: number,
      offset,
      size: payload.length,
      sha256: toHex(sha256(payload)),
    })
    const stored = this.#append(kindCode(kind), payload)
    this.#headers.push(stored.subarray(0, frameHeaderSize))
    this.#hashes.push(sha256(payload))
  }

  commit(flags: CommitFlags, items: StoreItems, records = ""): void {
    const listed = this.header.protection === "authenticated"
    const frameCount = this.#headers.length
    const { sequence, tag, checkpoint } = this.chain
    const payload = encodeCommit({
      sequence: sequence + 1,
      previous: tag,
      digest: sha256(concatBytes(...this.#headers.splice(0))),
      durable: sequence,
      checkpoint,
      flags,
      frameCount,
      hashes: concatBytes(...(listed ? this.#hashes : [])),
      items,
      records: utf8(records),
    })
    this.#hashes = []
    this.headOffset = this.#bytes.length
    const next = commitTag(tag, this.#append(3, payload))
    const { number } = this.#id
    const here = { sequence: sequence + 1, tag: next, segment: number, offset: this.headOffset }
    this.chain = {
      sequence: sequence + 1,
      tag: next,
      checkpoint: flags.checkpoint === true ? here : checkpoint,
    }
  }

  #append(kind: number, payload: Uint8Array): Uint8Array {
    const frame = Buffer.alloc(frameHeaderSize + payload.length)
    const offset = this.#bytes.length
    frame.writeUInt32LE(payload.length, 0)
    frame.writeUInt32LE(kind, 4)
    frame.set(fixed(`nonce ${this.#id.number} ${this.#count}`).subarray(0, 8), 8)
    frame.writeUInt32LE(this.#count, 16)
    frame.set(payload, frameHeaderSize)
    this.#count += 1
    const cipher = new SegmentCipher(this.key(), this.header, this.#id.salt)
    cipher.seal(frame, 0, kind, payload.length, offset)
    cipher.close()
    this.#bytes = concatBytes(this.#bytes, frame)
    this.files.set(`segments/${toHex(this.#id.salt)}`, this.#bytes)
    return frame
  }
}

function open(epoch: number) {
  return { epoch, lease: fixed(`lease ${epoch}`) }
}

function path(number: number): string {
  return `segments/${toHex(fixed(`salt ${number}`))}`
}

/** Four segments: two of one writer, a rekey, a second writer. */
function volume(protection: Protection): VectorWriter {
  const out = new VectorWriter(protection)
  out.begin(out.segment(1))
  const first = { number: 1, generation: 0, previous: undefined }
  out.commit({ checkpoint: true }, { begin: first, open: open(1), table: [] })
  out.frame("data", utf8("hello"))
  out.frame("index", new Uint8Array(100).fill(7))
  out.commit({ changes: true }, {}, "one")
  out.frame("data", new Uint8Array(0))
  out.commit({ changes: true, more: true }, {}, "two, ")
  const second = out.segment(2)
  out.commit({}, { next: second })
  const one = { ...out.id, end: out.end, lastTag: out.chain.tag }
  out.begin(second)
  out.commit({}, { begin: { number: 2, generation: 0, previous: one } })
  out.frame("data", new Uint8Array(1000).fill(2))
  out.commit({ changes: true }, {}, "in two parts")
  out.commit({ checkpoint: true }, { table: [one] }, "state")
  out.frame("data", utf8("after"))
  out.commit({ changes: true }, {}, "three")
  const third = out.segment(4, 1)
  out.commit({}, { next: third })
  const two = { ...out.id, end: out.end }
  out.begin(third)
  const nonce = wrapFixed(out)
  out.commit({}, { begin: { number: 4, generation: 1, previous: two }, keys: [nonce] })
  out.frame("index", utf8("new key"))
  out.commit({ changes: true }, {}, "four")
  const last = { ...out.id, end: out.end }
  out.begin(out.segment(9, 1))
  out.commit({}, { begin: { number: 9, generation: 1, previous: last }, open: open(2) })
  out.commit({ close: true }, {})
  return out
}

/** The wrapped key of generation 0 with a fixed nonce. */
function wrapFixed(out: VectorWriter) {
  return wrapOldKey(out.key(1), out.header, 0, out.key(0), fixed("wrap nonce").subarray(0, 12))
}

interface Change {
  readonly name: string
  /** What is changed, and which layer must notice. */
  readonly layer: "header" | "segment header" | "frame" | "commit" | "chain" | "anchor"
  readonly file: string
  readonly xorAt?: number
  readonly truncate?: number
  readonly drop?: true
  /** Exit code: 3 integrity, 4 rollback; or `read` when it opens and only a frame is damaged. */
  readonly fails: 2 | 3 | 4 | "read"
}

function changes(out: VectorWriter): Change[] {
  const size = out.files.get(path(9))?.length ?? 0
  return [
    { name: "magic", layer: "header", file: "header", xorAt: 0, fails: 3 },
    { name: "protection", layer: "header", file: "header", xorAt: 12, fails: 3 },
    { name: "volume id", layer: "header", file: "header", xorAt: 16, fails: 3 },
    { name: "segment version", layer: "segment header", file: path(9), xorAt: 8, fails: 3 },
    { name: "segment check", layer: "segment header", file: path(2), xorAt: 60, fails: 3 },
    { name: "head deleted", layer: "anchor", file: path(9), drop: true, fails: 4 },
    { name: "head cut", layer: "anchor", file: path(9), truncate: out.headOffset, fails: 4 },
    { name: "head changed", layer: "anchor", file: path(9), xorAt: size - 1, fails: 3 },
    {
      name: "begin changed",
      layer: "commit",
      file: path(9),
      xorAt: segmentHeaderSize + 40,
      fails: 3,
    },
    {
      name: "nonce of a commit",
      layer: "frame",
      file: path(4),
      xorAt: segmentHeaderSize + 8,
      fails: 3,
    },
    { name: "middle deleted", layer: "chain", file: path(4), drop: true, fails: 3 },
    {
      name: "payload before the checkpoint",
      layer: "frame",
      file: path(1),
      xorAt: frameOf(out, 0) + frameHeaderSize,
      fails: "read",
    },
    {
      name: "nonce of a frame in the log",
      layer: "chain",
      file: path(2),
      xorAt: frameOf(out, 4) + 8,
      fails: 3,
    },
  ]
}

function frameOf(out: VectorWriter, index: number): number {
  return out.frames[index]?.offset ?? 0
}

function vector(protection: Protection) {
  const out = volume(protection)
  const { sequence, tag } = out.chain
  const anchor = {
    volumeId: out.header.id,
    sequence,
    tag,
    epoch: 2,
    salt: out.id.salt,
    offset: out.headOffset,
  }
  const pin = new Uint8Array(8192)
  pin.set(encodePinSlot({ count: 1, state: "new" }), 4096)
  pin.set(encodePinSlot({ count: 2, state: anchor }), 0)
  return {
    format: "coffer volume store vector 1",
    protection,
    key: toHex(out.key(1)),
    files: Object.fromEntries([...out.files].map(([name, bytes]) => [name, toHex(bytes)])),
    pin: toHex(pin),
    expect: {
      sequence,
      tag: toHex(tag),
      state: toHex(utf8("state")),
      records: ["three", "four"].map((text) => toHex(utf8(text))),
      frames: out.frames,
    },
    changes: changes(out),
  }
}

let stale = false
mkdirSync(folder, { recursive: true })
for (const protection of ["encrypted", "authenticated"] as const) {
  const file = join(folder, `${protection}.json`)
  const text = `${JSON.stringify(vector(protection), undefined, 1)}\n`
  if (!process.argv.includes("--check")) writeFileSync(file, text)
  else if (!existsSync(file) || readFileSync(file, "utf8") !== text) stale = true
}
if (stale) console.error("test/vectors/volume: not what tools/vectors-volume.ts makes")
process.exitCode = stale ? 1 : 0
