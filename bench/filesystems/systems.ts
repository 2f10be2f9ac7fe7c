/** The filesystems that are measured side by side: how each is made, mounted and unmounted without a question. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

export interface System {
  readonly name: string
  /** What the report says beside the name: version, pin mode. */
  readonly note: string
  /** Why it cannot be measured here; undefined when it can. */
  readonly absent: string | undefined
  /** Makes an empty filesystem in `home`, a folder of its own. */
  create(home: string): void
  /** Mounts it; returns the folder to work in. */
  mount(home: string): Promise<string>
  unmount(home: string): Promise<void>
}

export interface DaemonUse {
  readonly cpuSeconds: number
  readonly peakRss: number
}

function run(
  command: string,
  args: readonly string[],
  input = "",
  env: NodeJS.ProcessEnv = {},
): string {
  const result = spawnSync(command, args, {
    input,
    encoding: "utf8",
    env: { ...process.env, ...env },
  })
  if (result.status !== 0) {
    throw new Error(
      `${command} ${args.join(" ")}: exit ${result.status}\n${result.stdout}${result.stderr}`,
    )
  }
  return result.stdout
}

function absentTool(tool: string): string | undefined {
  return spawnSync("sh", ["-c", `command -v ${tool}`]).status === 0
    ? undefined
    : `${tool} is not installed`
}

function paths(home: string): { store: string; mnt: string; secret: string } {
  return { store: join(home, "store"), mnt: join(home, "mnt"), secret: join(home, "secret") }
}

function folders(home: string): ReturnType<typeof paths> {
  const all = paths(home)
  mkdirSync(all.store, { recursive: true })
  mkdirSync(all.mnt, { recursive: true })
  writeFileSync(all.secret, "correct horse battery staple\n", { mode: 0o600 })
  return all
}

async function unmountFuse(home: string): Promise<void> {
  const { mnt } = paths(home)
  for (let attempt = 0; spawnSync("umount", [mnt]).status !== 0; attempt += 1) {
    if (attempt === 50) throw new Error(`${mnt} stays busy`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  for (let attempt = 0; daemonPids(home).length > 0 && attempt < 300; attempt += 1) {
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

const native: System = {
  name: "native",
  note: "the disk's own filesystem",
  absent: undefined,
  create: (home) => void folders(home),
  mount: (home) => Promise.resolve(paths(home).store),
  unmount: () => Promise.resolve(),
}

/** Peers: a create and a mount command each; all daemonise. */
function peer(
  name: string,
  create: (at: ReturnType<typeof paths>) => void,
  mount: (at: ReturnType<typeof paths>) => void,
): System {
  return {
    name,
    note: versionOf(name),
    absent: absentTool(name),
    create: (home) => create(folders(home)),
    mount(home) {
      const at = paths(home)
      mount(at)
      return Promise.resolve(at.mnt)
    },
    unmount: unmountFuse,
  }
}

function versionOf(name: string): string {
  const found = spawnSync("dpkg-query", ["-W", "-f", `\${Version}`, name], { encoding: "utf8" })
  return found.status === 0 ? `Debian ${found.stdout}` : ""
}

const quietCryfs = { CRYFS_FRONTEND: "noninteractive", CRYFS_NO_UPDATE_CHECK: "true" }
const phrase = "correct horse battery staple\n"

const gocryptfs = peer(
  "gocryptfs",
  (at) => run("gocryptfs", ["-init", "-q", "-passfile", at.secret, at.store]),
  (at) => run("gocryptfs", ["-q", "-passfile", at.secret, at.store, at.mnt]),
)

const cryfs = peer(
  "cryfs",
  (at) => {
    run("cryfs", [at.store, at.mnt], phrase, { ...quietCryfs, XDG_DATA_HOME: `${at.store}.data` })
    run("umount", [at.mnt])
  },
  (at) =>
    run("cryfs", [at.store, at.mnt], phrase, { ...quietCryfs, XDG_DATA_HOME: `${at.store}.data` }),
)

const securefs = peer(
  "securefs",
  (at) => run("securefs", ["create", "--pass", "bench", at.store]),
  (at) =>
    run("securefs", [
      "mount",
      "-b",
      "--pass",
      "bench",
      "--log",
      `${at.store}.log`,
      at.store,
      at.mnt,
    ]),
)

const encfs = peer(
  "encfs",
  (at) => {
    run("encfs", ["--standard", "--stdinpass", at.store, at.mnt], phrase)
    run("umount", [at.mnt])
  },
  (at) => run("encfs", ["--stdinpass", at.store, at.mnt], phrase),
)

function key(home: string): string {
  return join(home, "key")
}

const pinNotes = {
  strict: "freshness strict: an fsync returns when the pin file has moved too",
  periodic: "freshness periodic: the pin file moves within a second",
  none: "no pin file: an older state would not be noticed, as with the peers",
}

/** Coffer with a local pin file (`--pin`) in one of its two modes, or with none. */
function coffer(name: string, pin: keyof typeof pinNotes): System {
  const daemons = new Map<string, ChildProcess>()
  const program = join(import.meta.dirname, "..", "..", "coffer")
  const pinned = (home: string) => (pin === "none" ? [] : ["--pin", join(home, "pin")])
  const mode = pin === "none" ? [] : ["--pin-mode", pin]
  return {
    name,
    note: pinNotes[pin],
    absent: undefined,
    create(home) {
      const at = folders(home)
      writeFileSync(key(home), Buffer.alloc(32, 7), { mode: 0o600 })
      run(program, ["volume", "create", at.store, "--key-file", key(home), ...pinned(home)])
    },
    async mount(home) {
      const at = paths(home)
      const args = [
        "volume",
        "mount",
        at.store,
        at.mnt,
        "--key-file",
        key(home),
        ...pinned(home),
        ...mode,
      ]
      const daemon = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] })
      daemons.set(home, daemon)
      await mounted(daemon, at.mnt)
      return at.mnt
    },
    async unmount(home) {
      const daemon = daemons.get(home)
      if (daemon === undefined) return
      daemons.delete(home)
      const ended = new Promise((resolve) => daemon.once("exit", resolve))
      daemon.kill("SIGTERM")
      await ended
    },
  }
}

function mounted(daemon: ChildProcess, mnt: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = ""
    daemon.stdout?.on("data", (chunk: Buffer) => void (said += chunk.toString()))
    daemon.stderr?.on("data", (chunk: Buffer) => void (said += chunk.toString()))
    const poll = setInterval(() => {
      if (!readFileSync("/proc/self/mountinfo", "utf8").includes(` ${mnt} `)) return
      clearInterval(poll)
      resolve()
    }, 5)
    daemon.once("exit", (code) => {
      clearInterval(poll)
      reject(new Error(`the daemon ended with ${code}: ${said}`))
    })
  })
}

export const systems: readonly System[] = [
  native,
  coffer("coffer", "strict"),
  coffer("coffer-periodic", "periodic"),
  coffer("coffer-nopin", "none"),
  gocryptfs,
  securefs,
  encfs,
  cryfs, // the slowest: what is left out when there is no time
]

/** Processes whose command line names this filesystem's home. */
function daemonPids(home: string): string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid) || pid === String(process.pid)) return false
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(`${home}/`)
    } catch {
      return false
    }
  })
}

/** What the daemon of a mounted filesystem has used so far. */
export function daemonUse(home: string): DaemonUse {
  let cpuSeconds = 0
  let peakRss = 0
  for (const pid of daemonPids(home)) {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1")
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
    cpuSeconds += (Number(fields[11]) + Number(fields[12])) / 100
    const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "latin1"))
    peakRss += Number(peak?.[1] ?? 0) * 1024
  }
  return { cpuSeconds, peakRss }
}
