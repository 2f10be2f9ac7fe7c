import { execFileSync, spawnSync } from "node:child_process"
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

export interface Postgres {
  readonly url: string
  /** Stops at once, as a power cut would, and starts again. `kill`: by SIGKILL of its first process. */
  restart(how?: "kill"): void
  stop(): void
}

/** Its children notice, and end; until then their shared memory keeps a new one from starting. */
function killed(dir: string): void {
  const file = join(dir, "data", "postmaster.pid")
  const lines = readFileSync(file, "utf8").split("\n")
  const [line = ""] = lines
  const [, memory = ""] = /^\s*\d+\s+(\d+)\s*$/.exec(lines[6] ?? "") ?? []
  const { stdout } = spawnSync("ps", ["-o", "pid=", "--ppid", line], { encoding: "utf8" })
  const children = stdout.split("\n").map(Number)
  process.kill(Number(line), "SIGKILL")
  while ([Number(line), ...children].some((pid) => pid > 0 && isRunning(pid)))
    spawnSync("sleep", ["0.05"])
  // Where nobody reaps orphans its number stays taken, and these would seem to be a running server's.
  rmSync(file)
  rmSync(join(dir, ".s.PGSQL.5432.lock"), { force: true })
  if (memory !== "") spawnSync("ipcrm", ["-m", memory])
}

function isRunning(pid: number): boolean {
  const stat = spawnSync("ps", ["-o", "stat=", "-p", String(pid)], { encoding: "utf8" })
  return stat.status === 0 && !stat.stdout.startsWith("Z")
}

const versions = "/usr/lib/postgresql"

function binaries(): string | undefined {
  if (!existsSync(versions)) return undefined
  const [newest] = readdirSync(versions).toSorted((a, b) => Number(b) - Number(a))
  return newest === undefined ? undefined : join(versions, newest, "bin")
}

/** A PostgreSQL of this test's own on a Unix socket; undefined when none is installed. As root it runs as `postgres`. */
export function startPostgres(): Postgres | undefined {
  const bin = binaries()
  const root = process.getuid?.() === 0
  const user = spawnSync("id", ["-u", "postgres"], { encoding: "utf8" })
  if (bin === undefined || (root && user.status !== 0)) return undefined
  const dir = mkdtempSync(join(tmpdir(), "coffer-pg-"))
  if (root) {
    const group = spawnSync("id", ["-g", "postgres"], { encoding: "utf8" })
    chownSync(dir, Number(user.stdout), Number(group.stdout))
    chmodSync(dir, 0o755)
  }
  const run = (tool: string, ...args: readonly string[]): void => {
    const command = [join(bin, tool), ...args]
    const [file = "", ...rest] = root
      ? ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", ...command]
      : command
    execFileSync(file, rest, { stdio: "ignore", cwd: "/" })
  }
  const data = join(dir, "data")
  const options = `-k ${dir} -c listen_addresses='' -c fsync=on -c max_connections=40`
  const start = () =>
    run("pg_ctl", "-D", data, "-w", "-t", "60", "-o", options, "-l", join(dir, "log"), "start")
  run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync")
  start()
  return {
    url: `postgres://postgres@localhost/postgres?host=${encodeURIComponent(dir)}`,
    restart: (how) => {
      if (how === "kill") killed(dir)
      else run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
      start()
    },
    stop: () => {
      run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
      rmSync(dir, { recursive: true, force: true })
    },
  }
}
