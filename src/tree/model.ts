import type { ByteString } from "../bytes/index.ts"

export interface Timestamp {
  /** Seconds since 1970, may be negative; a safe integer. */
  readonly seconds: number
  /** 0 to 999,999,999. */
  readonly nanoseconds: number
}

export interface Xattr {
  /** The whole name with its namespace, for example `security.capability`. */
  readonly name: ByteString
  readonly value: Uint8Array
}

export interface Metadata {
  /** Permission bits with setuid, setgid and sticky: 0 to 0o7777. Always 0o777 for a symlink. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtime: Timestamp
  /** Sorted by name, no name twice. POSIX ACLs are here too, as `system.posix_acl_access` and `system.posix_acl_default`. */
  readonly xattrs: readonly Xattr[]
}

/** A range of a file that holds data; between ranges are holes, which read as zeros. */
export interface DataRange {
  readonly offset: number
  readonly size: number
}

export interface Content {
  /** Bytes. */
  readonly size: number
  /**
   * Sorted, not empty, not touching, within `size`. A file without holes has one range, an empty file none.
   * Where the holes are depends on the source (filesystem blocks, the tool that made the tar): a format that promises
   * the same bytes for the same content must find zeros itself.
   */
  readonly ranges: readonly DataRange[]
  /** Where the bytes lie, one after the other, in a file that is open as long as the content may be read. */
  readonly place?: { readonly fd: number; readonly offset: number }
  /**
   * Fills the whole of `target` from `position`, holes as zeros. Reading past `size` is a `TypeError`. Throws
   * `CofferError` when the source has changed, is damaged or cannot be read.
   */
  read(target: Uint8Array, position: number): void
}

export interface DirectoryNode {
  readonly kind: "directory"
  readonly meta: Metadata
  readonly children: ReadonlyMap<ByteString, TreeNode>
}

export interface FileNode {
  readonly kind: "file"
  readonly meta: Metadata
  readonly content: Content
}

export interface SymlinkNode {
  readonly kind: "symlink"
  readonly meta: Metadata
  readonly target: ByteString
}

export interface DeviceNode {
  readonly kind: "block" | "character"
  readonly meta: Metadata
  readonly major: number
  readonly minor: number
}

export interface SpecialNode {
  readonly kind: "fifo" | "socket"
  readonly meta: Metadata
}

export type TreeNode = DirectoryNode | FileNode | SymlinkNode | DeviceNode | SpecialNode

/** What long work calls: bytes done, and of how many (undefined when that is not known yet). */
export type OnProgress = (done: number, total: number | undefined) => void

/** What a place has that nobody described: the root of a tar without an entry for it, and implied parents. */
export const plainDirectory: Metadata = {
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtime: { seconds: 0, nanoseconds: 0 },
  xattrs: [],
}
