// Hot path: frames are queued, encrypted and written in one reused run buffer.
import { Sha256, sha256 } from "../../crypto/index.ts"
import { SegmentCipher } from "./cipher.ts"
import type { Disk } from "./disk.ts"
import { type Entropy, kernelEntropy } from "./entropy.ts"
import {
  commitKind,
  frameHeaderSize,
  maxPayloadSize,
  nonceAt,
  type SegmentId,
  segmentHeaderSize,
  type VolumeHeader,
} from "./format.ts"
import { segmentHeaderBytes } from "./keys.ts"

const runSize = 4 * 1024 * 1024
const runBufferSize = runSize + 2 * (frameHeaderSize + maxPayloadSize)
const diskPageSize = 4096
const headersPerUpdate = 512

/** One run buffer serves all segments of a store, one after the other. */
export class RunBuffer {
  readonly bytes: Buffer = Buffer.allocUnsafeSlow(runBufferSize)
  readonly headers: Buffer = Buffer.allocUnsafeSlow(headersPerUpdate * frameHeaderSize)
}

const random = Buffer.allocUnsafeSlow(8)

/**
 * Appends frames to one new segment. A queued frame stands in the run as header without nonce and plaintext; `seal` encrypts
 * what is queued, `write` puts the run on the disk. A place is given out when a frame is queued, and never changes.
 */
export class SegmentWriter {
  readonly id: SegmentId
  readonly fd: number
  readonly #disk: Disk
  readonly #cipher: SegmentCipher
  readonly #run: RunBuffer
  readonly #hashes: Buffer[] | undefined
  readonly #entropy: Entropy
  /** Over the headers that were kept before those that wait; made for many frames only, since it takes longer than their hash. */
  #digest: Sha256 | undefined
  /** File offset of the run's first byte. */
  #start = 0
  /** Bytes in the run: sealed up to `#sealed`. */
  #fill: number
  #sealed: number
  #counter = 0
  /** Frames that were sealed since the last `takeFrames`. */
  #frameCount = 0
  #pendingHeaders = 0
  /** Blocks are reserved up to here. */
  reserved = 0

  constructor(
    disk: Disk,
    fd: number,
    volumeKey: Uint8Array,
    header: VolumeHeader,
    id: SegmentId,
    run: RunBuffer,
    entropy = kernelEntropy,
  ) {
    this.#disk = disk
    this.fd = fd
    this.id = id
    this.#run = run
    this.#entropy = entropy
    this.#cipher = new SegmentCipher(volumeKey, header, id.salt)
    this.#hashes = header.protection === "authenticated" ? [] : undefined
    run.bytes.set(segmentHeaderBytes(volumeKey, header, id), 0)
    this.#fill = segmentHeaderSize
    this.#sealed = segmentHeaderSize
  }

  /** Where the next frame will stand. */
  get offset(): number {
    return this.#start + this.#fill
  }

  /** Frames from this offset on are in the run, not on the disk. */
  get runStart(): number {
    return this.#start
  }

  /** Data and index frames since the last commit. */
  get frameCount(): number {
    return this.#frameCount
  }

  /** Queues a frame and returns its offset. The run is written first when it is full. */
  append(kind: number, payload: Buffer, at: number, size: number): number {
    if (this.#fill >= runSize) this.#writeOn()
    const { bytes } = this.#run
    const headerAt = this.#fill
    bytes.writeUInt32LE(size, headerAt)
    bytes.writeUInt32LE(kind, headerAt + 4)
    if (this.#entropy.readsRun) bytes.fill(0, headerAt + nonceAt, headerAt + frameHeaderSize)
    payload.copy(bytes, headerAt + frameHeaderSize, at, at + size)
    this.#fill = headerAt + frameHeaderSize + size
    if (kind !== commitKind) {
      this.#frameCount += 1
      if (this.#hashes !== undefined)
        this.#hashes.push(Buffer.from(sha256(payload.subarray(at, at + size))))
    }
    return this.#start + headerAt
  }

  /** Payload of a frame in the run. False: no such frame. */
  readQueued(kind: number, offset: number, size: number, target: Buffer, at: number): boolean {
    const { bytes } = this.#run
    const headerAt = offset - this.#start
    const payloadAt = headerAt + frameHeaderSize
    if (headerAt < 0 || payloadAt + size > this.#fill) return false
    if (bytes.readUInt32LE(headerAt) !== size || bytes.readUInt32LE(headerAt + 4) !== kind)
      return false
    if (headerAt < this.#sealed)
      return this.#cipher.open(bytes, headerAt, kind, size, offset, target, at)
    bytes.copy(target, at, payloadAt, payloadAt + size)
    return true
  }

  /**
   * Encrypts what is queued. The random half of the nonces is drawn here, after the plaintext is fixed, from the kernel: a
   * process that was resumed twice from one snapshot repeats all but this. The counter runs through the whole segment.
   */
  seal(): void {
    if (this.#sealed === this.#fill) return
    const { bytes } = this.#run
    const run = bytes.subarray(this.#sealed, this.#fill)
    this.#entropy.nonce(random, run, this.id.salt, this.#start + this.#sealed)
    let headerAt = this.#sealed
    while (headerAt < this.#fill) {
      const size = bytes.readUInt32LE(headerAt)
      const kind = bytes.readUInt32LE(headerAt + 4)
      bytes.set(random, headerAt + nonceAt)
      bytes.writeUInt32LE(this.#counter, headerAt + nonceAt + 8)
      this.#counter += 1
      this.#cipher.seal(bytes, headerAt, kind, size, this.#start + headerAt)
      if (kind !== commitKind) this.#keepHeader(headerAt)
      headerAt += frameHeaderSize + size
    }
    this.#sealed = this.#fill
  }

  #keepHeader(headerAt: number): void {
    const { bytes, headers } = this.#run
    const at = this.#pendingHeaders * frameHeaderSize
    bytes.copy(headers, at, headerAt, headerAt + frameHeaderSize)
    this.#pendingHeaders += 1
    if (this.#pendingHeaders < headersPerUpdate) return
    this.#digest ??= new Sha256()
    this.#digest.update(headers)
    this.#pendingHeaders = 0
  }

  /** What a commit says of the frames since the one before, all of them sealed. Starts anew. */
  takeFrames(): {
    readonly count: number
    readonly digest: Uint8Array
    readonly hashes: Uint8Array
  } {
    this.seal()
    const rest = this.#run.headers.subarray(0, this.#pendingHeaders * frameHeaderSize)
    const frames = {
      count: this.#frameCount,
      digest: this.#digest?.update(rest).digest() ?? sha256(rest),
      hashes: Buffer.concat(this.#hashes?.splice(0) ?? []),
    }
    this.#digest = undefined
    this.#pendingHeaders = 0
    this.#frameCount = 0
    return frames
  }

  /** Queues and seals a commit frame; `stored` is the frame as it will be on the disk, valid until the next append. */
  appendCommit(payload: Buffer): { readonly offset: number; readonly stored: Uint8Array } {
    const offset = this.append(commitKind, payload, 0, payload.length)
    this.seal()
    const at = offset - this.#start
    return { offset, stored: this.#run.bytes.subarray(at, this.#fill) }
  }

  /** Puts the run on the disk, all in one write, without waiting for it to be durable. */
  write(): void {
    this.seal()
    if (this.#fill === 0) return
    this.#disk.write(this.fd, this.#run.bytes, 0, this.#fill, this.#start)
    this.#start += this.#fill
    this.#fill = 0
    this.#sealed = 0
  }

  /** The same before a sync: the disk begins at once. */
  writeLast(): void {
    const from = this.#start
    this.write()
    if (this.#start > from) this.#disk.writeSoon?.(this.fd, from, this.#start - from)
  }

  // A stream: the disk works on this run while the next one is gathered. Its last page will be written again, so not yet.
  #writeOn(): void {
    const from = this.#start
    this.write()
    const end = this.#start - (this.#start % diskPageSize)
    this.#disk.writeSoon?.(this.fd, from, end - from)
  }

  /** Wipes the key. The file stays open: it may have to be synced. */
  close(): void {
    this.#cipher.close()
  }
}
