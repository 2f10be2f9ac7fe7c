import { dlopen } from "node:ffi"
import { checked, cString, lastErrno, systemError } from "./ffi.ts"

// Extended attributes of the path itself (never of a symlink's target). Names are bytes with their namespace; values are bytes.

const { functions: libc } = dlopen(null, {
  lgetxattr: { arguments: ["pointer", "pointer", "pointer", "uint64"], return: "int64" },
  llistxattr: { arguments: ["pointer", "pointer", "uint64"], return: "int64" },
  lremovexattr: { arguments: ["pointer", "pointer"], return: "int32" },
  lsetxattr: { arguments: ["pointer", "pointer", "pointer", "uint64", "int32"], return: "int32" },
})

// The kernel's limit for one value and for one list of names (XATTR_SIZE_MAX, XATTR_LIST_MAX).
const limit = 65536
const scratch = Buffer.alloc(limit)
const ENODATA = 61
const ENOTSUP = 95

/** Names in the kernel's order; none where the filesystem has no xattrs. */
export function listXattrs(path: Uint8Array): Uint8Array[] {
  const size = Number(libc.llistxattr(cString(path), scratch, BigInt(limit)))
  if (size === 0) return []
  if (size < 0) {
    const errno = lastErrno()
    if (errno === ENOTSUP) return []
    throw systemError(errno, "llistxattr", path)
  }
  return splitNames(scratch.subarray(0, size))
}

function splitNames(list: Uint8Array): Uint8Array[] {
  const names: Uint8Array[] = []
  let start = 0
  for (let end = list.indexOf(0); end !== -1; end = list.indexOf(0, start)) {
    names.push(Uint8Array.from(list.subarray(start, end)))
    start = end + 1
  }
  return names
}

/** The value, a copy; undefined when there is none of that name. */
export function getXattr(path: Uint8Array, name: Uint8Array): Uint8Array | undefined {
  const size = Number(libc.lgetxattr(cString(path), cString(name), scratch, BigInt(limit)))
  if (size >= 0) return Uint8Array.from(scratch.subarray(0, size))
  const errno = lastErrno()
  if (errno === ENODATA) return undefined
  throw systemError(errno, "lgetxattr", path)
}

/** Sets or replaces. */
export function setXattr(path: Uint8Array, name: Uint8Array, value: Uint8Array): void {
  // An empty view may have no address at all; the kernel reads none of these bytes.
  const bytes = value.length === 0 ? scratch : value
  const result = libc.lsetxattr(cString(path), cString(name), bytes, BigInt(value.length), 0)
  checked(result, "lsetxattr", path)
}

/** ENODATA when there is none of that name. */
export function removeXattr(path: Uint8Array, name: Uint8Array): void {
  checked(libc.lremovexattr(cString(path), cString(name)), "lremovexattr", path)
}
