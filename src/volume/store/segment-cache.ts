// Hot path: the file and the cipher of a segment that is read.
import { CofferError, fromSystem } from "../../errors.ts"
import type { FrameKind, Place } from "../frame-store.ts"
import type { FrameOpener } from "./cipher.ts"
import { frameHeaderSize, kindCode, maxPayloadSize, type SegmentId } from "./format.ts"
import { openerOf, openSegmentFile, segmentPath, type VolumeContext } from "./segments.ts"

interface OpenSegment {
  readonly id: SegmentId
  readonly fd: number
  readonly opener: FrameOpener
  /** For eviction: the greater, the later it was used. */
  used: number
}

const capacity = 96
/** Bytes of a row that are read at once: not more than the processor's cache holds until they are decrypted. */
const rowSize = 256 * 1024
const row: Place = { segment: 0, offset: 0, size: 0 }
const scratch = Buffer.allocUnsafeSlow(frameHeaderSize + maxPayloadSize)

/** Open segments by number, the least used one closed when there are too many. */
export class SegmentCache {
  readonly #context: VolumeContext
  readonly #idOf: (segment: number) => SegmentId | undefined
  readonly #open = new Map<number, OpenSegment>()
  readonly #openerOf: (id: SegmentId) => FrameOpener
  #last: OpenSegment | undefined
  #clock = 0

  constructor(
    context: VolumeContext,
    idOf: (segment: number) => SegmentId | undefined,
    opener: (id: SegmentId) => FrameOpener = (id) => openerOf(context, id),
  ) {
    this.#context = context
    this.#idOf = idOf
    this.#openerOf = opener
  }

  /** Fills `target` with the payload of a frame on the disk, or throws before a byte of it is seen. */
  read(kind: FrameKind, place: Place, target: Buffer, at: number): void {
    const { offset, size } = place
    const segment = this.#get(place.segment)
    const whole = frameHeaderSize + size
    if (size > maxPayloadSize) throw new TypeError("a frame has at most 1 MiB")
    const got = this.#disk(segment, whole, offset)
    if (got !== whole) throw frameFault(segment.id, kind, place, "truncated")
    openFrame(segment, kind, place, 0, target, at)
  }

  /** `count` data frames, `stride` bytes apart from `place` on; their payloads go to `target` from `at`, `step` bytes apart. */
  readRow(
    place: Place,
    stride: number,
    count: number,
    target: Buffer,
    at: number,
    step: number,
  ): void {
    const { segment: number, offset, size } = place
    const segment = this.#get(number)
    const whole = frameHeaderSize + size
    if (whole > rowSize || stride < whole) throw new TypeError("frames of a row do not overlap")
    const most = Math.floor((rowSize - whole) / stride) + 1
    for (let first = 0; first < count; first += most) {
      const some = Math.min(most, count - first)
      const from = offset + first * stride
      const got = this.#disk(segment, (some - 1) * stride + whole, from)
      for (let i = 0; i < some; i += 1) {
        row.segment = number
        row.offset = from + i * stride
        row.size = size
        if (got < i * stride + whole) throw frameFault(segment.id, "data", row, "truncated")
        openFrame(segment, "data", row, i * stride, target, at + (first + i) * step)
      }
    }
  }

  /** A hint: bytes of a segment that will be read soon. */
  prefetch(number: number, offset: number, size: number): void {
    this.#context.disk.prefetch?.(this.#get(number).fd, offset, size)
  }

  forget(number: number): void {
    const segment = this.#open.get(number)
    if (segment === undefined) return
    this.#open.delete(number)
    if (this.#last === segment) this.#last = undefined
    segment.opener.close()
    this.#context.disk.close(segment.fd)
  }

  close(): void {
    for (const number of this.#open.keys()) this.forget(number)
  }

  #disk(segment: OpenSegment, size: number, offset: number): number {
    try {
      return this.#context.disk.read(segment.fd, scratch, 0, size, offset)
    } catch (error) {
      throw fromSystem(error, `${this.#context.disk.path}/${segmentPath(segment.id.salt)}`)
    }
  }

  #get(number: number): OpenSegment {
    this.#clock += 1
    const last = this.#last
    if (last?.id.number === number) return last
    const segment = this.#open.get(number) ?? this.#load(number)
    segment.used = this.#clock
    this.#last = segment
    return segment
  }

  #load(number: number): OpenSegment {
    const id = this.#idOf(number)
    if (id === undefined)
      throw new CofferError("integrity", `wanted segment ${number}, the volume has none`, {
        facts: { segment: number },
      })
    const fd = openSegmentFile(this.#context, id)
    let opener: FrameOpener
    try {
      opener = this.#openerOf(id)
    } catch (error) {
      this.#context.disk.close(fd)
      throw error
    }
    const segment = { id, fd, opener, used: this.#clock }
    if (this.#open.size >= capacity) this.#evict()
    this.#open.set(number, segment)
    return segment
  }

  #evict(): void {
    let oldest: OpenSegment | undefined
    for (const segment of this.#open.values())
      if (oldest === undefined || segment.used < oldest.used) oldest = segment
    if (oldest !== undefined) this.forget(oldest.id.number)
  }
}

/** The frame that stands at `scratchAt` of the scratch buffer. */
function openFrame(
  { id, opener }: OpenSegment,
  kind: FrameKind,
  place: Place,
  scratchAt: number,
  target: Buffer,
  at: number,
): void {
  const { offset, size } = place
  const code = kindCode(kind)
  const header =
    scratch.readUInt32LE(scratchAt) === size && scratch.readUInt32LE(scratchAt + 4) === code
  if (!header || !opener.open(scratch, scratchAt, code, size, offset, target, at))
    throw frameFault(id, kind, place, header ? "changed" : "header-changed")
}

function frameFault(id: SegmentId, kind: FrameKind, place: Place, attack: string): CofferError {
  const { offset, size } = place
  return new CofferError(
    "integrity",
    `segment ${id.number}: the ${kind} frame of ${size} bytes at ${offset} does not verify`,
    {
      reason: "damaged-frame",
      facts: { segment: id.number, file: segmentPath(id.salt), offset, size, kind, attack },
      hint: "the volume was changed or damaged: `coffer volume verify` lists what is affected",
    },
  )
}
