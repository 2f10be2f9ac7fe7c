/**
 * The system below Node: POSIX calls, mounts, fast ciphers and decompression through `node:ffi`, and where workers are.
 *
 * The only user of `node:ffi`, which is experimental. Promises: every call checks its result and throws the system's
 * error with its errno name, as `node:fs` does; no pointer leaves this folder.
 */
export { FfiAead, ffiAeadWorks } from "./aead.ts"
export { readFileClock } from "./clock.ts"
export { DamagedDataError, type Decompressor, openDecompressor } from "./decompress.ts"
export { createWaker, FuseDevice, openFuse, wake } from "./fuse-device.ts"
export { forbidDumps } from "./memory.ts"
export { deviceOfMount, mount, mountFlags, unmount } from "./mount.ts"
export { inMountNamespace } from "./mount-namespace.ts"
export { nodeConfigPath } from "./paths.ts"
export { type Peer, peerOf } from "./peer.ts"
export {
  deviceNumber,
  deviceParts,
  link,
  mknod,
  seekData,
  seekHole,
  setTimes,
} from "./posix.ts"
export { refuseOtherThanFile } from "./replaceable.ts"
export { makeLargeScratch, makeScratch, scratchError } from "./scratch.ts"
export {
  dropCache,
  fillRandom,
  readSoon,
  reserveBlocks,
  tryLock,
  unlock,
  writeSoon,
} from "./storage.ts"
export { ownUserNamespace } from "./user-namespace.ts"
export { workerUrl } from "./worker.ts"
export { getXattr, listXattrs, removeXattr, setXattr } from "./xattr.ts"
