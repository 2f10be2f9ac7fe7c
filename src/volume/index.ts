/**
 * Volume: a filesystem in an encrypted, authenticated, log-structured store on a disk that the adversary owns.
 *
 * Specified in spec/volume.md (store: frames, segments, commits, anchor) and spec/volume-index.md (filesystem).
 * Promises: the ten invariants of spec/volume.md. What is read is what was written last under the anchored tag, or an error.
 */
export type { Affected } from "./affected.ts"
export type { FrameKind, FrameStore, Place, Recovery, SegmentInfo } from "./frame-store.ts"
export { type ExportOptions, exportTree } from "./fs/export-tree.ts"
export { importTree } from "./fs/import-tree.ts"
export { answerOf, inodeAt, newAttributes } from "./fs/requests.ts"
export type { VolumeFileSystem } from "./fs/volume-fs.ts"
export { MemoryVolume } from "./memory-volume.ts"
export { fileSystemOn, openVolume, type VolumeRequest } from "./open-volume.ts"
export { type Anchor, type AnchorState } from "./store/anchor.ts"
export type { Disk } from "./store/disk.ts"
export { ExtentDisk, type FileExtent } from "./store/extent-disk.ts"
export type { Protection } from "./store/format.ts"
export type { Freshness } from "./store/freshness.ts"
export { NodeDisk } from "./store/node-disk.ts"
export {
  type CreateOptions,
  createStore,
  type OpenedStore,
  type OpenOptions,
  openStore,
  openStoreForReading,
  type StoreInfo,
  type WriteSettings,
} from "./store/open.ts"
export { PinFile } from "./store/pin-file.ts"
export { requestRekey } from "./store/rekey.ts"
export type { Finding } from "./store/verify.ts"
export { type VerifyReport, verifyVolume } from "./verify-volume.ts"
export { openOnce, tagOnce, writeOnce } from "./written-once.ts"
