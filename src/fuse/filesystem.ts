import type { ByteString } from "../bytes/index.ts"

/**
 * What the FUSE loop asks of a filesystem. binfs and volume are two of them.
 *
 * Hot path: everything is synchronous; results are filled into objects and buffers of the caller; errors are negative
 * errno values (`-2` is ENOENT), not exceptions. An exception is a fault of ours: the loop answers EIO and reports it.
 * Inode numbers are integers from 1 (the root) to 2^53 - 1, never used again for another file within one mount.
 * The loop keeps the kernel's lookup counts: `forget` comes once, when the kernel has dropped its last reference.
 * Permissions are the kernel's business (`default_permissions`); ids are those of the mount's user namespace. Names are
 * 1 to 255 bytes without NUL and '/', never `.` or `..`; the loop has checked that. Parents are directories, types fit
 * the verb (the kernel has checked that), but an inode may be one that has no links any more.
 *
 * What the kernel leaves to us, with the features that we negotiate (spec/fuse.md):
 * - the new file's owner is the caller; in a setgid directory the group is the directory's, and a new directory is
 *   setgid too;
 * - with `posixAcl` the mode comes with the umask not applied (`Caller.umask`): `aclForNewFile` of `acl.ts` says what
 *   mode and ACLs a new file has, `aclAfterChmod` what chmod does to an access ACL, `modeOfAcl` what setting one does to
 *   the mode;
 * - a change of uid or gid of a file that is no directory clears setuid, and setgid where the group may execute;
 * - every write, truncation and change of owner removes `security.capability`.
 */
export interface FileSystem {
  /** 0 and `out` filled, or -ENOENT. */
  lookup(parent: number, name: ByteString, out: Attributes): number
  /** The kernel holds no reference any more. An inode without links may be reclaimed now. */
  forget(inode: number): void
  getattr(inode: number, out: Attributes): number
  setattr(inode: number, change: AttributeChange, out: Attributes): number
  readlink(inode: number): ByteString | number
  /** Regular files, devices, fifos and sockets: `mode` has the type. */
  mknod(
    parent: number,
    name: ByteString,
    mode: number,
    rdev: number,
    caller: Caller,
    out: Attributes,
  ): number
  mkdir(parent: number, name: ByteString, mode: number, caller: Caller, out: Attributes): number
  symlink(
    parent: number,
    name: ByteString,
    target: ByteString,
    caller: Caller,
    out: Attributes,
  ): number
  /** A regular file without a name (O_TMPFILE): 0 links, and gone with `forget` unless `link` has given it a name. */
  tmpfile(parent: number, mode: number, caller: Caller, out: Attributes): number
  link(inode: number, parent: number, name: ByteString, out: Attributes): number
  unlink(parent: number, name: ByteString): number
  rmdir(parent: number, name: ByteString): number
  /** `flags`: RENAME_NOREPLACE 1, RENAME_EXCHANGE 2, RENAME_WHITEOUT 4. Atomic, also across a crash. */
  rename(
    parent: number,
    name: ByteString,
    newParent: number,
    newName: ByteString,
    flags: number,
  ): number
  /** Fills `target` from `at`; returns the count of bytes (fewer only at the end of the file), or an error. */
  read(inode: number, offset: number, size: number, target: Buffer, at: number): number
  /** Several reads wait, this is one of them: start the disk, wait for nothing. A hint, and only for what has a disk. */
  prefetch?(inode: number, offset: number, size: number): void
  /** Takes `size` bytes of `source` from `at`, which it must not keep. `killPriv`: clear setuid and setgid. Returns `size` or an error. */
  write(
    inode: number,
    offset: number,
    source: Buffer,
    at: number,
    size: number,
    killPriv: boolean,
  ): number
  fallocate(inode: number, offset: number, size: number, mode: number): number
  /** Calls `emit` for each entry after `cookie` (0: from the start, with `.` and `..`) until it returns false. 0 or an error. */
  readdir(inode: number, cookie: number, emit: EmitEntry): number
  getxattr(inode: number, name: ByteString): Uint8Array | number
  /** `flags`: XATTR_CREATE 1, XATTR_REPLACE 2. `killSgid`: setting an ACL clears setgid. */
  setxattr(
    inode: number,
    name: ByteString,
    value: Uint8Array,
    flags: number,
    killSgid: boolean,
  ): number
  listxattr(inode: number): readonly ByteString[] | number
  removexattr(inode: number, name: ByteString): number
  statfs(out: FileSystemStatus): number
  /**
   * Makes everything about the inode durable (or all, `inode` 1). Answers 0 or an error, or a `pending` reply that the
   * filesystem completes later, from `tick`, by `Completion.done`. A signal to the caller or 30 s end the waiting
   * (EINTR, EIO): then `Completion.waiting` is false, and `done` does nothing.
   */
  fsync(inode: number, dataOnly: boolean, completion: Completion): number | "pending"
  /**
   * Auto-commit, compaction in slices of at most 2 ms, completion of pending fsyncs. Returns in how many milliseconds it
   * wants to be called again; 0: as soon as no request waits, and after 10 ms in any case. Also called soon after another
   * thread has woken the loop. `nowMs` is monotonic, of `performance.now()`.
   */
  tick(nowMs: number): number
  /** The mount has ended: commit and close. Idempotent. */
  destroy(): void
  /** How the kernel may cache: fixed for the life of the mount. */
  readonly options: FileSystemOptions
}

export interface FileSystemOptions {
  /** Mounted read-only, nothing changes: zero-message opens, no atime traffic. */
  readonly readOnly: boolean
  /** Seconds for which names and attributes stay valid: the filesystem has one owner, so long. */
  readonly cacheSeconds: number
  /** Negotiate POSIX_ACL: xattrs `system.posix_acl_*` are stored and enforced by the kernel. */
  readonly posixAcl: boolean
  /** Largest file size in bytes. */
  readonly maxFileSize: number
}

/** As FUSE's `fuse_attr`. Mutable: one object is filled again and again. */
export interface Attributes {
  inode: number
  size: number
  /** Units of 512 bytes. */
  blocks: number
  /** File type and permissions, as in `st_mode`. */
  mode: number
  linkCount: number
  uid: number
  gid: number
  /** As the kernel encodes it for user space (`new_encode_dev`). */
  rdev: number
  blockSize: number
  atimeSeconds: number
  atimeNanoseconds: number
  mtimeSeconds: number
  mtimeNanoseconds: number
  ctimeSeconds: number
  ctimeNanoseconds: number
}

/** Fields that are undefined do not change. `"now"` is the time of the call. */
export interface AttributeChange {
  mode: number | undefined
  uid: number | undefined
  gid: number | undefined
  size: number | undefined
  atime: Time | "now" | undefined
  mtime: Time | "now" | undefined
  ctime: Time | undefined
  /** Clear setuid, and setgid where the group may execute. */
  killPriv: boolean
}

export interface Time {
  readonly seconds: number
  readonly nanoseconds: number
}

export interface Caller {
  uid: number
  gid: number
  pid: number
  /** Of MKNOD, MKDIR, CREATE and TMPFILE. To be applied to the mode with `posixAcl` (see above), else already applied. */
  umask: number
}

/** `type` is the file type as in `st_mode >> 12`; `fill` writes the attributes when the kernel asked for them. False: the buffer is full, stop. */
export type EmitEntry = (
  name: ByteString,
  inode: number,
  type: number,
  nextCookie: number,
  fill: (out: Attributes) => void,
) => boolean

export interface Completion {
  readonly waiting: boolean
  /** Completes a pending fsync: 0 or a negative errno. Once. */
  done(error: number): void
}

export interface FileSystemStatus {
  blockSize: number
  blocks: number
  blocksFree: number
  blocksAvailable: number
  files: number
  filesFree: number
  nameMax: number
}
