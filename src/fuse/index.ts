/**
 * FUSE: the kernel's protocol and the synchronous loop that serves a `FileSystem`.
 *
 * Spec: spec/fuse.md. Promises: knows no filesystem; each request gets exactly one reply (or none where the protocol
 * wants none); a malformed request or an exception in the filesystem is an error for its caller and ends nothing; the
 * filesystem sees each `forget` once.
 */
export {
  aclAccessName,
  aclAfterChmod,
  aclDefaultName,
  aclForNewFile,
  modeOfAcl,
  type NewFileAcl,
} from "./acl.ts"
export type {
  AttributeChange,
  Attributes,
  Caller,
  Completion,
  EmitEntry,
  FileSystem,
  FileSystemOptions,
  FileSystemStatus,
  Time,
} from "./filesystem.ts"
export type { IdMaps, IdRange } from "./id-maps.ts"
export { insideId, nobodysId, outsideId } from "./id-maps.ts"
export { type Device, type LoopControl, runLoop } from "./loop.ts"
export { MappedFileSystem } from "./mapped-file-system.ts"
export { type FuseMetrics, metricsMemory, readMetrics } from "./metrics.ts"
export { rehearsal } from "./rehearsal.ts"
