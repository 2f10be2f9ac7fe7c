/**
 * Volume: a filesystem in an encrypted, authenticated, log-structured store on a disk that the adversary owns.
 *
 * Specified in spec/volume.md (store: frames, segments, commits, anchor) and spec/volume-index.md (filesystem).
 * Promises: the ten invariants of spec/volume.md. What is read is what was written last under the anchored tag, or an error.
 */
export type { FrameKind, FrameStore, Place, Recovery, SegmentInfo } from "./frame-store.ts"
