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
    const code = kindCode(kind)
    if (got !== whole) throw frameFault(segment.id, kind, place, "truncated")
    const header = scratch.readUInt32LE(0) === size && scratch.readUInt32LE(4) === code
    if (!header || !segment.opener.open(scratch, 0, code, size, offset, target, at))
      throw frameFault(segment.id, kind, place, header ? "changed" : "header-changed")
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
