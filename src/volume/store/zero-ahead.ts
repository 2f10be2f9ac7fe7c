// Hot path: called at each sync.
import type { Disk } from "./disk.ts"
import type { SegmentWriter } from "./segment-writer.ts"

const smallRun = 128 * 1024
const quickMs = 200
const firstAfter = 4
const least = 256 * 1024
const most = 2 * 1024 * 1024
const zeros = Buffer.alloc(most)

/**
 * Many small syncs, one after the other, each have to make the file longer, and that takes the disk's journal twice as long
 * as the data. So after the first few, zeros are written ahead in one piece, and the next syncs only overwrite:
 * 0.3 ms in place of 0.9 ms on ext4. Zeros are no frame, so a reader sees the end of the segment there.
 */
export class ZeroAhead {
  #count = 0
  #lastAt = 0
  #writer: SegmentWriter | undefined
  /** The file has bytes up to here. */
  #zeroed = 0

  /** Before the run is written. Only where blocks are reserved: this must not be what meets a full disk. */
  prepare(disk: Disk, writer: SegmentWriter, limit: number, now: number): void {
    const size = writer.offset - writer.runStart
    const quick = size <= smallRun && now - this.#lastAt < quickMs
    this.#lastAt = now
    this.#count = quick ? this.#count + 1 : 0
    if (this.#writer !== writer) {
      this.#writer = writer
      this.#zeroed = 0
    }
    if (this.#count < firstAfter || writer.offset <= this.#zeroed) return
    const wanted = Math.min(most, Math.max(least, this.#count * 16 * 1024))
    const end = Math.min(writer.offset + wanted, limit, writer.reserved)
    if (end <= writer.offset) return
    disk.write(writer.fd, zeros, 0, end - writer.offset, writer.offset)
    this.#zeroed = end
  }
}
