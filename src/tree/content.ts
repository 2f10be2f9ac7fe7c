import type { Content, DataRange } from "./model.ts"

export function isWholeData(size: number, ranges: readonly DataRange[]): boolean {
  const [first] = ranges
  return size === 0 || (ranges.length === 1 && first?.offset === 0 && first.size === size)
}

/** Content that is in memory. The bytes are not copied: do not change them. */
export function contentOfBytes(bytes: Uint8Array): Content {
  return {
    size: bytes.length,
    ranges: bytes.length === 0 ? [] : [{ offset: 0, size: bytes.length }],
    read(target, position) {
      if (position < 0 || position + target.length > bytes.length)
        throw new TypeError("read past the end of the content")
      target.set(bytes.subarray(position, position + target.length))
    },
  }
}

export const emptyContent: Content = contentOfBytes(new Uint8Array(0))

const pieceSize = 1024 * 1024

/**
 * The bytes of a range, piece by piece. Each piece is good until the next one is asked for: the buffer is used again.
 */
export function* readPieces(
  content: Content,
  range: DataRange,
): Generator<{ readonly bytes: Uint8Array; readonly position: number }> {
  const buffer = new Uint8Array(Math.min(range.size, pieceSize))
  const end = range.offset + range.size
  for (let position = range.offset; position < end; position += pieceSize) {
    const bytes = buffer.subarray(0, Math.min(pieceSize, end - position))
    content.read(bytes, position)
    yield { bytes, position }
  }
}
