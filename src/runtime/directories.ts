import { lstatSync } from "node:fs"
import { homedir } from "node:os"
import { isAbsolute, join } from "node:path"
import { CofferError, fromSystem } from "../errors.ts"
import { ownUserNamespace } from "../sys/index.ts"

/** Where a runtime keeps its things. */
export interface Directories {
  /** The folders of its containers, and its keys, which end with the boot. */
  readonly base: string
  /** The embedded CAS of engines. */
  readonly cas: string
}

const ofRoot: Directories = { base: "/run/coffer", cas: "/var/lib/coffer/cas" }

/** The variables of the environment that an ordinary user's places depend on. Those of root do not depend on any. */
interface UserEnvironment {
  readonly XDG_RUNTIME_DIR?: string | undefined
  readonly XDG_DATA_HOME?: string | undefined
  readonly HOME?: string | undefined
}

/** True when all that we can do is what an ordinary user lets us do, whoever we are in a user namespace of theirs. */
export function isOrdinaryUser(): boolean {
  return process.getuid?.() !== 0 || ownUserNamespace() !== undefined
}

/** Root's, or the user's. In a machine that is a user namespace as a whole (LXC), root has no XDG_RUNTIME_DIR, and root's places. */
export function directoriesOf(env: UserEnvironment): Directories {
  if (!isOrdinaryUser()) return ofRoot
  const runtime = env.XDG_RUNTIME_DIR ?? ""
  if (runtime === "" && process.getuid?.() === 0) return ofRoot
  requireOwn(runtime)
  return { base: join(runtime, "coffer"), cas: join(dataHome(env), "coffer", "cas") }
}

/** `$XDG_DATA_HOME`, or what stands for it: as the XDG specification says, a relative path counts for nothing. */
export function dataHome({ XDG_DATA_HOME: data = "", HOME: home = "" }: UserEnvironment): string {
  if (isAbsolute(data)) return data
  return join(isAbsolute(home) ? home : homedir(), ".local", "share")
}

// Another user who could write in it would exchange a bundle between us and runc.
function requireOwn(path: string): void {
  const hint = "log in by a session that makes one (loginctl enable-linger), or make one: mode 700"
  const wanted = "XDG_RUNTIME_DIR: wanted a folder of yours that nobody else can write"
  if (!isAbsolute(path))
    throw new CofferError("missing", `${wanted}, found ${path === "" ? "none" : path}`, { hint })
  let stat: ReturnType<typeof lstatSync>
  try {
    stat = lstatSync(path)
  } catch (error) {
    throw fromSystem(error, `XDG_RUNTIME_DIR: ${path}`, hint)
  }
  const { uid, mode } = stat
  if (stat.isDirectory() && uid === process.getuid?.() && (mode & 0o022) === 0) return
  throw new CofferError(
    "config",
    `${wanted}, found ${path} of user ${uid}, mode ${(mode & 0o7777).toString(8)}`,
    { hint },
  )
}
