/**
 * The binary filesystem: an uncompressed EROFS image with a dm-verity hash tree behind it.
 *
 * Spec: `spec/binfs.md`. Promises: the same tree gives the same bytes, whatever its source; the reader trusts nothing
 * and takes nothing but what the writer would have written; memory does not grow with the content.
 */
export { checkBinfs } from "./check.ts"
export { type BinfsReader, type Directory, openBinfs } from "./reader.ts"
export { type WriteOptions, type WrittenBinfs, writeBinfs } from "./writer.ts"
