/**
 * The model of a file tree, as `tar`, `oci`, `binfs` and `volume` exchange it.
 *
 * A tree is immutable once it is handed on. Names are bytes (`ByteString`). A hard link is one node object that stands
 * in several places. Content is read by position, synchronously, so that a tree of any size needs memory only for its names.
 * Promises: no clock, no random, no order of the source: `walk` visits children in the order of their bytes.
 */

export { type LeafNode, TreeAllowance, TreeBuilder, type TreeBuilderOptions } from "./builder.ts"
export { contentOfBytes, emptyContent, isWholeData, readPieces } from "./content.ts"
export { directorySource, isMachineXattr } from "./directory-source.ts"
export { dumpTree, treeDigest } from "./dump.ts"
export { extractTree } from "./extract.ts"
export { lookup } from "./lookup.ts"
export {
  type Content,
  type DataRange,
  type DeviceNode,
  type DirectoryNode,
  type FileNode,
  type Metadata,
  type OnProgress,
  plainDirectory,
  type SpecialNode,
  type SymlinkNode,
  type Timestamp,
  type TreeNode,
  type Xattr,
} from "./model.ts"
export { badPath, maxDepth, maxNameSize, maxTargetSize } from "./path.ts"
export { dataSize, sortedChildren, type Visit, walk } from "./walk.ts"
