/**
 * The filesystem shield: serves the regions of one container, and the mounts of the command line.
 *
 * Spec: spec/fuse.md. Promises: the filesystem is opened before anything is mounted; one thread serves one mount and
 * touches no file of it; the end of the mount, from whichever side, commits; a tampered block is EIO to its reader
 * and an incident to the host.
 */
export type { BinfsRequest } from "./build-binfs.ts"
export type { RegionRequest } from "./build-region.ts"
export type { VolumeMountRequest } from "./build-volume.ts"
export { guardMemory } from "./guard-memory.ts"
export { fuseMountData, type MountOptions, mountAt, tuneWriteback, unmountAt } from "./mount-at.ts"
export type { Incident } from "./protocol.ts"
export { serveInWorker } from "./serve.ts"
export { ServedMount, type ServeOptions } from "./served-mount.ts"
export { openShield } from "./shield.ts"
export { startThread } from "./threads.ts"
export { formatTrace, mergeTraces, parseTrace, type Trace } from "./trace-file.ts"
export { volumeRehearsal } from "./volume-rehearsal.ts"
