/**
 * The sealed binary: an ELF executable that carries manifest, signature, binary filesystem and hash tree.
 *
 * Spec: `spec/sealed-binary.md`, `spec/inclusion-proof.md`. Promises: the same input gives the same bytes; a reader that
 * returns has looked at every byte of the head, which it read once; nothing of the binary filesystem is used before
 * verity has verified it against the measured root hash.
 */
export { archOf, findExecutable, textFile } from "./executable.ts"
export { openImage, openTree } from "./files.ts"
export {
  type ClassCoverage,
  coverage,
  type FileClass,
  fileClasses,
  type InventoryEntry,
  inventory,
  protectionOf,
  type StoreContent,
} from "./inventory.ts"
export { binfsOffsetOf } from "./layout.ts"
export { measurePages } from "./measure.ts"
export { sealedPath, storesPath } from "./places.ts"
export {
  type CheckedProof,
  checkProof,
  expectMrEnclave,
  type InclusionProof,
  provePath,
} from "./proof.ts"
export { looksSealed, readSealed, type SealedBinary } from "./read.ts"
export { type SealedReport, sealedReport } from "./report.ts"
export { regionTree, rootTree } from "./root-tree.ts"
export { looksLikeSdkEnclave, measureSdkEnclave } from "./sdk-enclave.ts"
export { type SignInput, signedHead, signSealed } from "./sign.ts"
export { type FileSource, openFile, sourceOfBytes, windowOf } from "./source.ts"
export { diffTrees, type FileChange } from "./tree-diff.ts"
export {
  type WriteImage,
  type WrittenBinary,
  writeAll,
  writeSealed,
} from "./write.ts"
