import type { ByteString } from "../bytes/index.ts"
import type { TreeNode } from "../tree/index.ts"

/** A record of a PAX extended header. */
export interface PaxRecord {
  readonly key: string
  readonly value: Uint8Array
}

/** What the headers of one member are made from. */
export interface Member {
  readonly name: ByteString
  readonly node: TreeNode
  /** The type flag, one character. */
  readonly type: string
  readonly linkName: ByteString
  /** Bytes that follow the header. */
  readonly size: number
  /** Records beside those for the name and the metadata. */
  readonly extra: readonly PaxRecord[]
}
