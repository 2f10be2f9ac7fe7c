import { dlopen } from "node:ffi"
import { checked, cString, lastErrno, systemError } from "./ffi.ts"

// POSIX calls that node:fs does not have. Paths are bytes without NUL; none of them follows a symlink at the end of the path.

const { functions: libc } = dlopen(null, {
  linkat: { arguments: ["int32", "pointer", "int32", "pointer", "int32"], return: "int32" },
  lseek: { arguments: ["int32", "int64", "int32"], return: "int64" },
  mknod: { arguments: ["pointer", "uint32", "uint64"], return: "int32" },
  utimensat: { arguments: ["int32", "pointer", "pointer", "int32"], return: "int32" },
})

const AT_FDCWD = -100
const AT_SYMLINK_NOFOLLOW = 0x100
const UTIME_OMIT = 0x3ffffffen
const SEEK_DATA = 3
const SEEK_HOLE = 4
const ENXIO = 6

export interface UnixTime {
  /** Seconds since 1970, a safe integer, may be negative. */
  readonly seconds: number
  /** 0 to 999,999,999. */
  readonly nanoseconds: number
}

const typeBits = { character: 0o020000, block: 0o060000, fifo: 0o010000, socket: 0o140000 } as const

/** Makes a device, fifo or socket node. The process's umask applies. */
export function mknod(
  path: Uint8Array,
  kind: keyof typeof typeBits,
  mode: number,
  major = 0,
  minor = 0,
): void {
  const result = libc.mknod(cString(path), typeBits[kind] | mode, deviceNumber(major, minor))
  checked(result, "mknod", path)
}

/** The `dev_t` of Linux, as glibc packs it. */
export function deviceNumber(major: number, minor: number): bigint {
  const [a, b] = [BigInt(major), BigInt(minor)]
  return ((a & ~0xfffn) << 32n) | ((a & 0xfffn) << 8n) | ((b & ~0xffn) << 12n) | (b & 0xffn)
}

export function deviceParts(device: bigint): { readonly major: number; readonly minor: number } {
  return {
    major: Number(((device >> 32n) & 0xfffff000n) | ((device >> 8n) & 0xfffn)),
    minor: Number(((device >> 12n) & 0xffffff00n) | (device & 0xffn)),
  }
}

/** Sets times of the path itself; an undefined one stays as it is. */
export function setTimes(path: Uint8Array, times: { atime?: UnixTime; mtime?: UnixTime }): void {
  const spec = new BigInt64Array(4)
  fillTimespec(spec, 0, times.atime)
  fillTimespec(spec, 2, times.mtime)
  checked(libc.utimensat(AT_FDCWD, cString(path), spec, AT_SYMLINK_NOFOLLOW), "utimensat", path)
}

function fillTimespec(spec: BigInt64Array, at: number, time: UnixTime | undefined): void {
  spec[at] = BigInt(time?.seconds ?? 0)
  spec[at + 1] = time === undefined ? UTIME_OMIT : BigInt(time.nanoseconds)
}

/** A second name for `from`, also when that is a symlink. */
export function link(from: Uint8Array, to: Uint8Array): void {
  checked(libc.linkat(AT_FDCWD, cString(from), AT_FDCWD, cString(to), 0), "linkat", to)
}

/** Where data next begins at or after `offset`; undefined when only a hole follows. Moves the descriptor's position. */
export function seekData(fd: number, offset: number): number | undefined {
  const found = libc.lseek(fd, BigInt(offset), SEEK_DATA)
  if (found >= 0n) return Number(found)
  const errno = lastErrno()
  if (errno === ENXIO) return undefined
  throw systemError(errno, "lseek")
}

/** Where the next hole begins at or after `offset`, which lies in the file; its end counts as a hole. Moves the descriptor's position. */
export function seekHole(fd: number, offset: number): number {
  return checked(libc.lseek(fd, BigInt(offset), SEEK_HOLE), "lseek")
}
