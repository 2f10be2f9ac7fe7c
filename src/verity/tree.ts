import { hash } from "node:crypto"
import { hashBlocks } from "./hash-blocks.ts"
import { blockSize, digestSize, hashAreaSize, verityLevels } from "./layout.ts"

export interface HashTree {
  /** 32 bytes. */
  readonly rootHash: Uint8Array
  /** The levels, top first, as they stand on the disk. Empty over one data block. */
  readonly area: Uint8Array
}

/** The tree over data blocks whose digests stand one after the other in `leaves`. */
export function hashTree(leaves: Uint8Array): HashTree {
  const levels = verityLevels(leaves.length / digestSize)
  const area = Buffer.alloc(hashAreaSize(leaves.length / digestSize))
  let digests = leaves
  for (const level of levels) {
    const blocks = area.subarray(
      level.firstBlock * blockSize,
      (level.firstBlock + level.blockCount) * blockSize,
    )
    blocks.set(digests)
    const next = Buffer.alloc(level.blockCount * digestSize)
    hashBlocks(blocks, next)
    digests = next
  }
  return { rootHash: Uint8Array.from(digests), area }
}

/** The tree over data in memory, which is whole blocks. */
export function hashTreeOfBytes(data: Uint8Array): HashTree {
  if (data.length === 0 || data.length % blockSize !== 0) {
    throw new TypeError(`wanted whole blocks of ${blockSize} bytes, not ${data.length} bytes`)
  }
  if (data.length === blockSize)
    return { rootHash: hash("sha256", data, "buffer"), area: new Uint8Array(0) }
  const leaves = Buffer.alloc((data.length / blockSize) * digestSize)
  hashBlocks(data, leaves)
  return hashTree(leaves)
}
