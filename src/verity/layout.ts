/** Bytes of a data block and of a hash block. */
export const blockSize = 4096
/** Bytes of a SHA-256 digest. */
export const digestSize = 32
export const digestsPerBlock = blockSize / digestSize

export interface Level {
  /** Where the level begins in the hash area, in blocks. */
  readonly firstBlock: number
  readonly blockCount: number
}

/**
 * The levels of the hash area, level 0 (the digests of the data blocks) first in the array; in the area the top level
 * comes first. One data block has no levels: the root hash is its digest.
 */
export function verityLevels(dataBlockCount: number): readonly Level[] {
  if (!Number.isSafeInteger(dataBlockCount) || dataBlockCount < 1) {
    throw new TypeError(`a hash tree stands over at least one block, not ${dataBlockCount}`)
  }
  const counts: number[] = []
  for (let count = dataBlockCount; count > 1; ) {
    count = Math.ceil(count / digestsPerBlock)
    counts.push(count)
  }
  let firstBlock = counts.reduce((sum, count) => sum + count, 0)
  return counts.map((blockCount) => {
    firstBlock -= blockCount
    return { firstBlock, blockCount }
  })
}

/** Bytes of the hash area over so many data blocks. */
export function hashAreaSize(dataBlockCount: number): number {
  return verityLevels(dataBlockCount).reduce((sum, level) => sum + level.blockCount, 0) * blockSize
}
