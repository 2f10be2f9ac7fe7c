/**
 * The sealed binary: an ELF executable that carries manifest, signature, binary filesystem and hash tree.
 *
 * Spec: `spec/sealed-binary.md`, `spec/inclusion-proof.md`. Promises: the same input gives the same bytes; a reader that
 * returns has looked at every byte of the head, which it read once; nothing of the binary filesystem is used before
 * verity has verified it against the measured root hash.
 */
export { binfsOffsetOf, emitSealedHead } from "./layout.ts"
export { measurePages } from "./measure.ts"
export { looksSealed, readSealed, type SealedBinary } from "./read.ts"
export { looksLikeSdkEnclave, measureSdkEnclave, type SdkEnclave } from "./sdk-enclave.ts"
export { type SignInput, signSealed } from "./sign.ts"
export { type FileSource, openFile, sourceOfBytes, sourceOfFd } from "./source.ts"
export {
  type WriteImage,
  type WrittenBinary,
  type WrittenImage,
  writeAll,
  writeSealed,
} from "./write.ts"
