import { dlopen } from "node:ffi"
import { closeSync, openSync, readFileSync } from "node:fs"
import { checked, cString, lastErrno, systemError } from "./ffi.ts"

// Mounts: what mount(2) and umount2(2) do, for this process's mount namespace.

const { functions: libc } = dlopen(null, {
  mount: { arguments: ["pointer", "pointer", "pointer", "uint64", "pointer"], return: "int32" },
  umount2: { arguments: ["pointer", "int32"], return: "int32" },
})

/** mount(2)'s flags, those that we use. */
export const mountFlags = {
  readOnly: 1,
  noSuid: 2,
  noDev: 4,
  noExec: 8,
  remount: 32,
  noAtime: 1024,
  bind: 4096,
  recursive: 16384,
  private: 1 << 18,
  slave: 1 << 19,
} as const

const detach = 2 // MNT_DETACH
const noFollow = 8 // UMOUNT_NOFOLLOW

/** Paths and options are bytes without NUL. Throws the system's error about `target`. */
export function mount(
  source: Uint8Array,
  target: Uint8Array,
  type: string,
  flags: number,
  options: string,
): void {
  const result = libc.mount(
    cString(source),
    cString(target),
    cString(Buffer.from(type)),
    BigInt(flags),
    cString(Buffer.from(options)),
  )
  checked(result, "mount", target)
}

/** Takes the mount away; false when it is busy. `lazy`: from the tree now, really when nobody uses it any more. */
export function unmount(target: Uint8Array, lazy = false): boolean {
  if (libc.umount2(cString(target), noFollow | (lazy ? detach : 0)) === 0) return true
  const errno = lastErrno()
  if (errno === 16) return false // EBUSY
  throw systemError(errno, "umount2", target)
}

const O_PATH = 0o10000000

/**
 * MAJOR:MINOR of what is mounted at `target`, without a question to the filesystem: stat(2) would wait for who serves it, and a
 * process that is killed while it waits for a thread of its own never ends.
 */
export function deviceOfMount(target: string): string {
  const fd = openSync(target, O_PATH)
  try {
    const about = readFileSync(`/proc/thread-self/fdinfo/${fd}`, "latin1")
    const id = /^mnt_id:\s*(\d+)$/m.exec(about)?.[1] ?? ""
    const mounts = readFileSync("/proc/thread-self/mountinfo", "latin1")
    return new RegExp(`^${id} \\d+ (\\d+:\\d+) `, "m").exec(mounts)?.[1] ?? ""
  } finally {
    closeSync(fd)
  }
}
