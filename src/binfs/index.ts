/**
 * The binary filesystem: an uncompressed EROFS image with a dm-verity hash tree behind it.
 *
 * Spec: `spec/binfs.md`. Promises: the same tree gives the same bytes, whatever its source; the reader trusts nothing,
 * and `checkBinfs` finds what it has no reason to meet; memory does not grow with the content.
 */
export { checkBinfs } from "./check.ts"
export {
  type BinfsPlace,
  createBinfsFile,
  locateBinfs,
  looksLikeBinfs,
  statedRootHash,
  verifiedImage,
} from "./file.ts"
export { ownersOfBlock } from "./owner.ts"
export { type BinfsReader, type Directory, openBinfs } from "./reader.ts"
export { type WriteOptions, type WrittenBinfs, writeBinfs } from "./writer.ts"
