import { spawnSync } from "node:child_process"
import {
  appendFileSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import type { Done } from "./podman.ts"
import { lacks } from "./run.ts"

const root = new URL("../..", import.meta.url).pathname

/** Why no ordinary user can be made here who runs containers, or false. */
export function lacksOrdinaryUser(): string | false {
  if (process.getuid?.() !== 0) return "an ordinary user is made by root"
  const tools = lacks("useradd", "userdel", "setpriv", "unshare", "newuidmap", "runc")
  if (tools !== false) return tools
  if (!existsSync("/dev/fuse")) return "no /dev/fuse here"
  const node = join(root, "node_modules/.bin/node")
  const nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"]
  const asNobody = (...command: string[]) => spawnSync("setpriv", [...nobody, ...command]).status
  if (asNobody(node, "--version") !== 0) return "others cannot read this checkout"
  const allowed = asNobody("unshare", "--user", "--map-root-user", "true") === 0
  return allowed ? false : "the kernel lets ordinary users make no user namespace"
}

/** A user with subordinate ids, a home and a folder for the session, all gone with `close`. */
export class OrdinaryUser {
  readonly home: string
  readonly runtime: string
  readonly uid: number
  readonly name = `coffer-${process.pid}`

  constructor(folder: string) {
    this.home = join(folder, "home")
    this.runtime = join(folder, "session")
    const made = spawnSync("useradd", ["-m", "-d", this.home, this.name], { encoding: "utf8" })
    if (made.status !== 0) throw new Error(`useradd: ${made.stderr}`)
    this.uid = Number(spawnSync("id", ["-u", this.name], { encoding: "utf8" }).stdout)
    this.makeFolder(this.runtime)
  }

  makeFolder(path: string): void {
    mkdirSync(path, { mode: 0o700 })
    chownSync(path, this.uid, this.uid)
  }

  /** The words of a command that this user runs, in an environment of their own. */
  command(env: Readonly<Record<string, string>>, ...command: readonly string[]): string[] {
    const own = {
      HOME: this.home,
      XDG_RUNTIME_DIR: this.runtime,
      PATH: "/usr/local/bin:/usr/bin:/bin:/usr/sbin",
      COFFER_FROM_SOURCE: "1",
      ...env,
    }
    const words = Object.entries(own).map(([name, value]) => `${name}=${value}`)
    const who = [`--reuid=${this.name}`, `--regid=${this.name}`, "--init-groups"]
    return ["setpriv", ...who, "env", "-i", "-C", this.home, ...words, ...command]
  }

  run(...command: readonly string[]): Done {
    return this.runWith({}, ...command)
  }

  runWith(env: Readonly<Record<string, string>>, ...command: readonly string[]): Done {
    const [program = "", ...words] = this.command(env, ...command)
    return spawnSync(program, words, { encoding: "utf8", timeout: 120_000 })
  }

  /** Takes the subordinate user ids away. Not by usermod, which does nothing while podman runs as this user. */
  withdrawIds(): { giveBack(): void } {
    const file = "/etc/subuid"
    const isOwn = (line: string) => line.startsWith(`${this.name}:`)
    const lines = readFileSync(file, "utf8").split("\n")
    writeFileSync(file, lines.filter((line) => !isOwn(line)).join("\n"))
    const own = lines.filter(isOwn).map((line) => `${line}\n`)
    return { giveBack: () => appendFileSync(file, own.join("")) }
  }

  /** What still runs as this user. */
  processes(): string[] {
    const { stdout } = spawnSync("ps", ["-o", "args=", "-U", String(this.uid)], {
      encoding: "utf8",
    })
    return stdout.split("\n").filter((line) => line !== "")
  }

  close(): void {
    spawnSync("userdel", [this.name])
    rmSync(join(this.home, ".."), { recursive: true, force: true })
    // What podman keeps for a user beside their home.
    rmSync(`/dev/shm/libpod_rootless_lock_${this.uid}`, { force: true })
  }
}
