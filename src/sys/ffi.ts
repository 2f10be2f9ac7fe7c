import { dlopen, getInt32 } from "node:ffi"
import { constants } from "node:os"
import { getSystemErrorMap } from "node:util"

// glibc's and musl's name for the address of errno. One place a thread, and it never moves; each worker loads this module anew.
const { lib } = dlopen(null)
const errnoPointer = lib.getFunction("__errno_location", { arguments: [], return: "pointer" })()

const nameOfErrno = new Map(
  Object.entries(constants.errno)
    .filter(([name]) => name !== "EWOULDBLOCK" && name !== "EOPNOTSUPP")
    .map(([name, value]) => [value, name]),
)

/** The thread's errno. Only right after the call that failed. */
export function lastErrno(): number {
  return getInt32(errnoPointer)
}

interface SystemErrorFields {
  errno: number
  code: string
  syscall: string
  path?: string
}

/** An error like those of `node:fs`: `code` is the errno's name, `syscall` the call, `path` what it was about. */
export function systemError(errno: number, syscall: string, path?: Uint8Array): Error {
  const code = nameOfErrno.get(errno) ?? `E${errno}`
  const words = getSystemErrorMap().get(-errno)?.[1] ?? "system error"
  const fields: SystemErrorFields = { errno: -errno, code, syscall }
  if (path !== undefined) fields.path = textOf(path)
  const about = fields.path === undefined ? "" : ` '${fields.path}'`
  return Object.assign(new Error(`${code}: ${words}, ${syscall}${about}`), fields)
}

function textOf(path: Uint8Array): string {
  const text = Buffer.from(path.buffer, path.byteOffset, path.length).toString("utf8")
  return text.endsWith("\0") ? text.slice(0, -1) : text
}

/** The result of a call that returns -1 on failure: the number, or the system's error thrown. */
export function checked(result: number | bigint, syscall: string, path?: Uint8Array): number {
  const value = Number(result)
  if (value < 0) throw systemError(lastErrno(), syscall, path)
  return value
}

/** A C string: the bytes and a NUL. A NUL within is a `TypeError`: the system would see a shorter name. */
export function cString(bytes: Uint8Array): Uint8Array {
  if (bytes.includes(0)) throw new TypeError("a name for the system must not contain NUL")
  const out = Buffer.allocUnsafe(bytes.length + 1)
  out.set(bytes, 0)
  out[bytes.length] = 0
  return out
}
