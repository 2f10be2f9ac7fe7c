import { dlopen } from "node:ffi"
import { closeSync, constants, openSync } from "node:fs"
import { checked, cString } from "./ffi.ts"
import { mount, mountFlags } from "./mount.ts"

const { functions: libc } = dlopen(null, {
  unshare: { arguments: ["int32"], return: "int32" },
  setns: { arguments: ["int32", "int32"], return: "int32" },
  fchdir: { arguments: ["int32"], return: "int32" },
  chroot: { arguments: ["pointer"], return: "int32" },
})

const CLONE_FS = 0x200
const CLONE_NEWNS = 0x20000

/**
 * Does `work` in a new mount namespace, in this thread alone, and comes back: what `work` mounts is seen by the processes that it
 * starts, and ends with the last of them. Throws the system's error (EPERM: our own namespace is one that we could not come back
 * to), before `work` has begun, or what `work` throws.
 */
export function inMountNamespace<T>(work: () => T): T {
  const own = openSync("/proc/thread-self/ns/mnt", "r")
  const root = openSync("/", constants.O_RDONLY | constants.O_DIRECTORY)
  const folder = openSync(".", constants.O_RDONLY | constants.O_DIRECTORY)
  const back = () => {
    // Which leaves us in the namespace's root, and ours may be another one.
    checked(libc.setns(own, CLONE_NEWNS), "setns")
    checked(libc.fchdir(root), "fchdir")
    checked(libc.chroot(here), "chroot")
    checked(libc.fchdir(folder), "fchdir")
  }
  try {
    checked(libc.unshare(CLONE_FS), "unshare")
    back()
    checked(libc.unshare(CLONE_NEWNS), "unshare")
    try {
      mount(none, Buffer.from("/"), "none", mountFlags.recursive | mountFlags.private, "")
      return work()
    } finally {
      back()
    }
  } finally {
    closeSync(folder)
    closeSync(root)
    closeSync(own)
  }
}

const none = Buffer.from("none")
const here = cString(Buffer.from("."))
