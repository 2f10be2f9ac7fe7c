/**
 * dm-verity: hash trees over 4 KiB blocks, SHA-256, version 1, no salt, no superblock.
 *
 * Spec: `spec/binfs.md`, "Hash tree"; the bytes are those of `veritysetup format --no-superblock --salt - --hash sha256`.
 * Promises: pure, no I/O (a source is given); a block that `VerifiedSource` gives out is bound by the root hash, on
 * every read; `BlockHasher` gives the same digests with any number of workers. Workers load this file: it imports little.
 */
export { BlockHasher, type HasherOptions, workOnRing } from "./block-hasher.ts"
export { blockSize, digestSize, hashAreaSize, verityLevels } from "./layout.ts"
export { type BlockSink, type RingMemory } from "./ring.ts"
export { type HashTree, hashTree, hashTreeOfBytes } from "./tree.ts"
export { type ByteSource, VerifiedSource, type VerityPlace } from "./verified-source.ts"
