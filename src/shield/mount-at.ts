import { writeFileSync } from "node:fs"
import { CofferError, fromSystem, isErrno } from "../errors.ts"
import { deviceOfMount, mount, mountFlags, unmount } from "../sys/index.ts"
import type { ServedMount } from "./served-mount.ts"

export interface MountOptions {
  /** What `mount` and /proc/mounts show as the source. */
  readonly source: string
  /** Setuid bits and devices work: for the measured root of a container, never for a volume. */
  readonly trusted?: boolean
  readonly noExec?: boolean
}

/** The options of mount(2) for a served mount. Ids are those of the mounter's user namespace. */
export function fuseMountData(device: number, uid: number, gid: number): string {
  // default_permissions is a must: without it the kernel checks nothing, and uid 1000 read root's 0600 file.
  return `fd=${device},rootmode=40000,user_id=${uid},group_id=${gid},default_permissions,allow_other,max_read=1048576`
}

function flagsOf(served: ServedMount, options: MountOptions): number {
  return (
    mountFlags.noAtime |
    (served.readOnly ? mountFlags.readOnly : 0) |
    (options.trusted === true ? 0 : mountFlags.noSuid | mountFlags.noDev) |
    (options.noExec === true ? mountFlags.noExec : 0)
  )
}

/** Mounts in this process's namespace and serves: resolves when the mount answers. On failure the filesystem is closed again. */
export async function mountAt(
  served: ServedMount,
  target: string,
  options: MountOptions,
): Promise<void> {
  try {
    const data = fuseMountData(served.device, process.getuid?.() ?? 0, process.getgid?.() ?? 0)
    const flags = flagsOf(served, options)
    mount(Buffer.from(options.source), Buffer.from(target), "fuse.coffer", flags, data)
  } catch (error) {
    await served.abandon()
    throw mountError(error, target)
  }
  await served.begin()
  if (!served.readOnly) tuneWriteback(deviceOfMount(target))
}

function mountError(error: unknown, target: string): Error {
  if (isErrno(error, "EPERM", "EACCES"))
    return new CofferError(
      "missing",
      `${target}: wanted the right to mount, found ${process.getuid?.() === 0 ? "no CAP_SYS_ADMIN" : "an ordinary user"}`,
      { cause: error, hint: "run it as root, or in a user namespace: unshare -Urm coffer …" },
    )
  if (isErrno(error, "ENOTDIR"))
    return new CofferError("usage", `${target}: wanted a directory to mount on`, { cause: error })
  return fromSystem(error, target, "make the directory that is to be mounted on")
}

const tuned = [
  ["read_ahead_kb", "256"],
  ["strict_limit", "0"],
  ["max_ratio", "40"],
] as const

/**
 * The kernel lets a FUSE mount hold 1 % of the memory as dirty pages, because most are served by strangers. Only root may
 * say otherwise; for others writes are only slower. `device`: what `deviceOfMount` says. When the kernel has had its first answer,
 * which sets what is read ahead.
 */
export function tuneWriteback(device: string): void {
  try {
    for (const [name, value] of tuned) writeFileSync(`/sys/class/bdi/${device}/${name}`, value)
  } catch {
    // not root, no sysfs, or an older kernel
  }
}

/** Takes the mount away; false when somebody uses it. One that is gone already is no error. */
export function unmountAt(target: string, lazy = false): boolean {
  try {
    return unmount(Buffer.from(target), lazy)
  } catch (error) {
    if (isErrno(error, "EINVAL", "ENOENT")) return true
    throw fromSystem(error, target)
  }
}
