import type { ScannedSegment } from "./chain.ts"
import { commitAt } from "./chain.ts"
import type { TableEntry } from "./commit.ts"
import { commitKind, frameHeaderSize, segmentHeaderSize } from "./format.ts"
import { damaged } from "./segments.ts"
import { verifyChain } from "./visit.ts"

const entrySize = 36 // offset (u32) and SHA-256

/** SHA-256 of each frame of an authenticated volume's segment, found by offset. */
export class HashList {
  readonly #entries: Buffer
  readonly #count: number

  /** Entries of 36 bytes, by rising offset. */
  constructor(entries: Buffer) {
    this.#entries = entries
    this.#count = entries.length / entrySize
  }

  at(offset: number): Uint8Array | undefined {
    let [low, high] = [0, this.#count]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#entries.readUInt32LE(middle * entrySize) < offset) low = middle + 1
      else high = middle
    }
    const at = low * entrySize
    if (low >= this.#count || this.#entries.readUInt32LE(at) !== offset) return undefined
    return this.#entries.subarray(at + 4, at + entrySize)
  }
}

/** What the segment's commits list, after its chain has been walked to the tag that the segment table gives. */
export function listedHashes(segment: ScannedSegment, entry: TableEntry): HashList {
  verifyChain(segment, entry)
  const { scan } = segment
  const parts: Buffer[] = []
  let waiting: number[] = []
  let offset = segmentHeaderSize
  while (offset < entry.end) {
    if (!scan.frame(offset, false)) throw damaged(entry, `no frame stands at ${offset}`, "changed")
    const end = offset + frameHeaderSize + scan.payloadSize
    if (scan.kind === commitKind) {
      const hashes = commitAt(segment, offset)?.commit.hashes ?? new Uint8Array(0)
      for (const [i, at] of waiting.entries()) {
        const part = Buffer.alloc(entrySize)
        part.writeUInt32LE(at, 0)
        part.set(hashes.subarray(32 * i, 32 * i + 32), 4)
        parts.push(part)
      }
      waiting = []
    } else waiting.push(offset)
    offset = end
  }
  return new HashList(Buffer.concat(parts))
}
