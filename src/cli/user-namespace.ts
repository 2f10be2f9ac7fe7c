import { spawnSync } from "node:child_process"
import { accessSync, constants } from "node:fs"
import { CofferError } from "../errors.ts"
import type { Io } from "./io.ts"

const program = "/usr/bin/unshare"
// With mounts of its own: a mount namespace of another owner is one to leave, but none to come back to.
const root = ["--user", "--map-root-user", "--mount"]

/**
 * An ordinary user may mount nothing, but may be root of a user namespace: this process becomes the same command in one,
 * with the user's subordinate ids where there are any. Does nothing for root, of whatever namespace.
 */
export function enterUserNamespace(io: Io): void {
  const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0]
  if (uid === 0) return
  requireUnshare()
  const options = [...root, "--map-auto"]
  // Each way is tried first: what unshare says after it has taken our place, nobody explains.
  const failed = attempt(options)
  if (failed !== undefined) {
    requireRoot(attempt(root))
    io.warn(`coffer: no subordinate ids (${failed}): of the image's users only root is somebody`)
  }
  const command = [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
  process.execve?.(program, [program, ...(failed === undefined ? options : root), ...command], {
    ...definedOf(io.env),
    // As podman says it: where this user's images are, for the programs that we ask for them.
    _CONTAINERS_USERNS_CONFIGURED: "done",
    _CONTAINERS_ROOTLESS_UID: String(uid),
    _CONTAINERS_ROOTLESS_GID: String(gid),
  })
}

function requireUnshare(): void {
  try {
    accessSync(program, constants.X_OK)
  } catch (cause) {
    throw new CofferError("missing", `coffer run: wanted ${program}, found none`, {
      cause,
      hint: "install util-linux, or run it as root",
    })
  }
}

/** Undefined when it works, else what it says. */
function attempt(options: readonly string[]): string | undefined {
  const { status, stderr } = spawnSync(program, [...options, "true"], { encoding: "utf8" })
  if (status === 0) return undefined
  return stderr.trim().split("\n").at(0)?.slice(0, 200) ?? `status ${status}`
}

function requireRoot(failed: string | undefined): void {
  if (failed === undefined) return
  throw new CofferError(
    "missing",
    `coffer run: wanted root, or a user namespace for an ordinary user, found: ${failed}`,
    { hint: "run it with sudo, or allow user namespaces: sysctl user.max_user_namespaces" },
  )
}

function definedOf(env: Io["env"]): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  )
}
