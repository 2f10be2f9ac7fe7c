import { dlopen, getRawPointer } from "node:ffi"
import { checked, lastErrno, systemError } from "./ffi.ts"

// What a store asks of a disk and of the kernel's random generator, beyond node:fs.

const { functions: libc } = dlopen(null, {
  fallocate: { arguments: ["int32", "int32", "int64", "int64"], return: "int32" },
  flock: { arguments: ["int32", "int32"], return: "int32" },
  getrandom: { arguments: ["uint64", "uint32", "uint32"], return: "int32" },
  sync_file_range: { arguments: ["int32", "int64", "int64", "uint32"], return: "int32" },
  posix_fadvise: { arguments: ["int32", "int64", "int64", "int32"], return: "int32" },
})

const LOCK_EX_NB = 2 | 4
const LOCK_UN = 8
const FALLOC_FL_KEEP_SIZE = 1
const SYNC_FILE_RANGE_WRITE = 2
const POSIX_FADV_WILLNEED = 3
const POSIX_FADV_DONTNEED = 4
const [EINTR, EWOULDBLOCK, EOPNOTSUPP, ENOSYS] = [4, 11, 95, 38]

/** Takes the exclusive lock of an open file, which ends with its last descriptor, also by kill -9. False: another has it. */
export function tryLock(fd: number): boolean {
  if (libc.flock(fd, LOCK_EX_NB) === 0) return true
  const errno = lastErrno()
  if (errno === EWOULDBLOCK) return false
  throw systemError(errno, "flock")
}

/** Gives back the lock that this open file has. */
export function unlock(fd: number): void {
  checked(libc.flock(fd, LOCK_UN), "flock")
}

/** Reserves disk blocks; the file's size stays. False: this file system cannot. Throws ENOSPC. */
export function reserveBlocks(fd: number, offset: number, size: number): boolean {
  for (;;) {
    if (libc.fallocate(fd, FALLOC_FL_KEEP_SIZE, BigInt(offset), BigInt(size)) === 0) return true
    const errno = lastErrno()
    if (errno === EOPNOTSUPP || errno === ENOSYS) return false
    if (errno !== EINTR) throw systemError(errno, "fallocate")
  }
}

/** Forgets the clean pages of the file, so that the next read comes from the disk. */
export function dropCache(fd: number): void {
  libc.posix_fadvise(fd, 0n, 0n, POSIX_FADV_DONTNEED)
}

/** Starts to read the range from the disk into the page cache, and does not wait for it. */
export function readSoon(fd: number, offset: number, size: number): void {
  libc.posix_fadvise(fd, BigInt(offset), BigInt(size), POSIX_FADV_WILLNEED)
}

/** Starts to write what is dirty of the range (size 0: up to the end), and does not wait for it. No promise: only fdatasync makes anything durable. */
export function writeSoon(fd: number, offset: number, size: number): void {
  libc.sync_file_range(fd, BigInt(offset), BigInt(size), SYNC_FILE_RANGE_WRITE)
}

// Memory whose address is known: half the time of asking for the target's.
const drawn = new Uint8Array(new ArrayBuffer(256))
const drawnAt = getRawPointer(drawn.buffer)

/** At most 256 bytes from getrandom(2): fresh also in a process or machine that was resumed from a snapshot. */
export function fillRandom(target: Uint8Array): void {
  const size = target.length
  if (size > drawn.length) throw new TypeError("at most 256 random bytes at once")
  for (;;) {
    const got = libc.getrandom(drawnAt, size, 0)
    if (got === size) break
    if (lastErrno() !== EINTR) checked(got, "getrandom")
  }
  for (let i = 0; i < size; i += 1) target[i] = drawn[i] as number
  drawn.fill(0, 0, size)
}
