// Hot path: walks the frames of a segment in their order through one window.
import type { Disk } from "./disk.ts"
import {
  commitKind,
  dataKind,
  frameHeaderSize,
  maxPayloadSize,
  maxSegmentSize,
  segmentHeaderSize,
} from "./format.ts"

const windowSize = 256 * 1024

/** A segment file, read from front to back. What the headers say is the disk's word: nothing here verifies. */
export class SegmentScan {
  readonly #disk: Disk
  readonly fd: number
  readonly size: number
  window: Buffer
  #start = 0
  #end = 0
  /** Of the frame that `frame` found. */
  kind = 0
  payloadSize = 0
  /** Where in `window` its header stands. */
  headerAt = 0

  constructor(disk: Disk, fd: number) {
    this.#disk = disk
    this.fd = fd
    this.size = Math.min(disk.size(fd), maxSegmentSize)
    this.window = Buffer.allocUnsafe(Math.max(segmentHeaderSize, Math.min(windowSize, this.size)))
  }

  /** The segment's header, shorter when the file is. */
  header(): Buffer {
    this.#fill(0, segmentHeaderSize)
    return this.window.subarray(0, Math.min(segmentHeaderSize, this.#end))
  }

  /** True when a plausible frame stands at `offset` and lies within the file; `whole` brings its payload into the window too. */
  frame(offset: number, whole: boolean): boolean {
    if (!this.#fill(offset, frameHeaderSize)) return false
    const at = offset - this.#start
    this.payloadSize = this.window.readUInt32LE(at)
    this.kind = this.window.readUInt32LE(at + 4)
    this.headerAt = at
    if (this.payloadSize > maxPayloadSize || this.kind < dataKind || this.kind > commitKind)
      return false
    const size = frameHeaderSize + this.payloadSize
    if (offset + size > this.size) return false
    if (!whole && this.kind !== commitKind) return true
    if (!this.#fill(offset, size)) return false
    this.headerAt = offset - this.#start
    return true
  }

  /** The next offset from `from` on where the header of a commit frame could stand; undefined when there is none. */
  findCommit(from: number): number | undefined {
    let base = from
    while (this.#fill(base, 8)) {
      const at = this.window.indexOf(commitPattern, base - this.#start + 4)
      if (at !== -1 && at + 4 <= this.#end - this.#start) return this.#start + at - 4
      if (this.#end >= this.size) return undefined
      base = Math.max(base + 1, this.#end - 7)
    }
    return undefined
  }

  #fill(offset: number, size: number): boolean {
    if (offset + size > this.size) {
      if (size !== segmentHeaderSize || offset !== 0) return false
    }
    if (offset >= this.#start && offset + size <= this.#end) return true
    if (size > this.window.length)
      this.window = Buffer.allocUnsafe(Math.min(frameHeaderSize + maxPayloadSize, this.size))
    this.#start = offset
    this.#end = offset
    const want = Math.min(this.window.length, this.size - offset)
    this.#end = offset + this.#disk.read(this.fd, this.window, 0, want, offset)
    return offset + size <= this.#end
  }
}

const commitPattern = Buffer.from([commitKind, 0, 0, 0])
