import assert from "node:assert/strict"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { Podman } from "./podman.ts"
import { Random } from "./random.ts"
import { RemoteCas } from "./remote-cas.ts"
import { makeTinyService, volumeRegion } from "./tiny-service.ts"

const root = new URL("../..", import.meta.url).pathname

// Says what it found, then what is durable: the file's content, its name, and the directory.
const script = `
cd /data
i=$(cat n 2>/dev/null || echo 0)
echo "found $i"
while :; do
  i=$((i + 1))
  echo $i > n.new && sync n.new && mv n.new n && sync . && echo "acked $i" || exit 1
done
`
const image = "localhost/kill:1"
const name = "kill"
const startMs = 120_000

/** What is killed while the service writes; `start`: something of a start, at any moment of it. */
const victims = ["service", "shield", "monitor", "conmon", "cas", "all", "start"] as const
type Victim = (typeof victims)[number]

export interface KillReport {
  readonly rounds: number
  readonly acked: number
  readonly killed: Readonly<Record<string, number>>
}

/** A service that writes to a strict volume under podman, a CAS and a node agent elsewhere, and a hand that kills. */
export class KillBench {
  readonly #folder = mkdtempSync(join(tmpdir(), "coffer-kill-"))
  readonly #cas = new RemoteCas(join(this.#folder, "cas"))
  readonly #random: Random
  readonly #killed: Record<string, number> = {}
  #engine: Podman | undefined
  #agent: ChildProcess | undefined
  readonly #ids = new Set<string>()
  #acked = 0

  constructor(seed: number) {
    this.#random = new Random(seed)
  }

  async prepare(): Promise<void> {
    await this.#cas.start()
    const config = join(this.#folder, "node.yaml")
    const { url, key } = this.#cas
    const socket = join(this.#folder, "agent", "node.sock")
    const text = `version: 1\nplatform: { type: insecure-sim }\nsocket: ${socket}\ncas: { url: "${url}", key: "${key}" }\n`
    writeFileSync(config, text, { mode: 0o600 })
    mkdirSync(join(this.#folder, "agent"), { mode: 0o700 })
    await this.#serveNode(config)
    this.#engine = new Podman(this.#folder, {
      COFFER_FROM_SOURCE: "1",
      COFFER_INSECURE_NODE_CONFIG: config,
    })
    const service = makeTinyService(this.#folder, script, {
      name,
      regions: [volumeRegion("data")],
    })
    await this.#cas.putPolicy(policy(service.mrEnclave, this.#cas.admin))
    this.#engine.load(service.image, image)
    mkdirSync(join(this.#folder, "data"))
  }

  async #serveNode(config: string): Promise<void> {
    const folder = join(this.#folder, "agent")
    const words = ["node", "serve", "--quiet", "--config", config, "--state-dir", folder]
    const agent = spawn(join(root, "coffer"), words, {
      env: { ...process.env, COFFER_FROM_SOURCE: "1" },
      stdio: ["ignore", "pipe", "ignore"],
    })
    this.#agent = agent
    await once(agent.stdout, "data")
  }

  async close(): Promise<void> {
    this.#engine?.close()
    if (this.#agent?.kill() === true) await once(this.#agent, "exit")
    await this.#cas.kill()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** `said` hears of each round. */
  async run(rounds: number, said: (line: string) => void = () => undefined): Promise<KillReport> {
    for (let round = 0; round < rounds; round += 1) {
      const victim = victims[this.#random.below(victims.length)] ?? "all"
      try {
        await this.#round(victim)
      } catch (error) {
        throw new Error(`round ${round}, victim ${victim}`, { cause: error })
      }
      said(`${round}: ${victim}, ${this.#acked} acknowledged`)
      this.#killed[victim] = (this.#killed[victim] ?? 0) + 1
    }
    // The last word: an undisturbed start finds everything.
    await this.#start()
    this.#podman.remove(name)
    return { rounds, acked: this.#acked, killed: this.#killed }
  }

  get #podman(): Podman {
    assert.ok(this.#engine)
    return this.#engine
  }

  async #round(victim: Victim): Promise<void> {
    if (victim === "start") await this.#killedStart()
    else {
      await this.#start()
      await sleep(this.#random.below(400))
      await this.#kill(victim)
    }
    this.#note()
    this.#podman.remove(name)
    await this.#nothingLeft()
  }

  /** Starts it, and waits until it writes. What it finds must hold what was acknowledged before. */
  async #start(): Promise<void> {
    const { status, stderr } = this.#podman.call("run", ...this.#words)
    assert.equal(status, 0, stderr)
    const before = this.#acked
    for (let i = 0; i < 1200; i += 1) {
      const { found, acked } = this.#said()
      if (found !== undefined)
        assert.ok(found >= before, `found ${found}, acknowledged was ${before}`)
      if (acked !== undefined && acked > before) return
      await sleep(25)
    }
    assert.fail(`the service does not write: ${this.#podman.call("logs", name).stderr}`)
  }

  get #words(): string[] {
    const annotation = "--annotation=io.coffer.policy=kill/writer"
    return ["-d", "--name", name, annotation, "-v", `${this.#folder}/data:/data`, image]
  }

  async #killedStart(): Promise<void> {
    const [program = "", ...words] = this.#podman.command("run", ...this.#words)
    const child = spawn(program, words, { stdio: "ignore" })
    const ended = once(child, "exit")
    await sleep(100 + this.#random.below(1500))
    const found = this.#processes()
    const one = found[this.#random.below(Math.max(found.length, 1))]
    if (one !== undefined) kill(one.pid)
    const stuck = sleep(startMs, undefined, { ref: false }).then(() =>
      assert.fail(`podman run hangs; killed: ${one?.what}`),
    )
    await Promise.race([ended, stuck])
    stuck.catch(() => undefined)
  }

  async #kill(victim: Exclude<Victim, "start">): Promise<void> {
    if (victim === "cas") {
      await this.#cas.kill()
      await sleep(this.#random.below(1000))
      await this.#cas.start()
      await sleep(this.#random.below(300))
      return
    }
    const service = Number(this.#podman.call("inspect", "-f", "{{.State.Pid}}", name).stdout)
    const targets = this.#processes().filter(({ what }) => victim === "all" || what === victim)
    if (victim !== "service") assert.ok(targets.length > 0, `no ${victim} to kill`)
    // Whatever order: nobody gets a chance to tidy up.
    if (victim === "all" || victim === "service" || victim === "conmon") kill(service)
    for (const { pid } of targets) kill(pid)
  }

  #said(): { readonly found: number | undefined; readonly acked: number | undefined } {
    const { stdout } = this.#podman.call("logs", name)
    const last = (pattern: RegExp) => {
      const [, digits] = [...stdout.matchAll(pattern)].at(-1) ?? []
      return digits === undefined ? undefined : Number(digits)
    }
    return { found: last(/^found (\d+)$/gm), acked: last(/^acked (\d+)$/gm) }
  }

  #note(): void {
    this.#acked = Math.max(this.#acked, this.#said().acked ?? 0)
  }

  /** Everything of this bench but the CAS and podman itself. */
  #processes(): { readonly pid: number; readonly what: string }[] {
    const containers = join(this.#folder, "podman", "root", "overlay-containers")
    const ids = readdirSync(containers).filter((id) => /^[0-9a-f]{64}$/.test(id))
    for (const id of ids) this.#ids.add(id)
    const marks = [this.#folder, ...this.#ids]
    const { stdout } = spawnSync("ps", ["-eo", "pid,args"], { encoding: "utf8" })
    return stdout.split("\n").flatMap((line) => {
      const [, pid = "", args = ""] = /^\s*(\d+) (.*)$/.exec(line) ?? []
      if (!marks.some((mark) => args.includes(mark))) return []
      const what = kindOf(args)
      return what === undefined ? [] : [{ pid: Number(pid), what }]
    })
  }

  async #nothingLeft(): Promise<void> {
    // A shield that has lost its container commits, and ends.
    for (let i = 0; i < 400 && this.#processes().length > 0; i += 1) await sleep(25)
    assert.deepEqual(this.#processes(), [])
    const mounts = readFileSync("/proc/self/mountinfo", "utf8")
    const ours = mounts
      .split("\n")
      .filter((line) => line.includes(this.#folder) && line.includes("/merged"))
    assert.deepEqual(ours, [])
  }
}

function kindOf(args: string): string | undefined {
  if (/^\S*podman /.test(args)) return undefined
  if (args.includes("coffer-monitor")) return "monitor"
  if (/\S*conmon /.test(args)) return "conmon"
  if (/main\.(ts|js)|coffer-oci(\.js)? /.test(args) && / shield /.test(args)) return "shield"
  return /runc |mount -i |coffer-oci /.test(args) ? "runc" : undefined
}

function kill(pid: number): void {
  if (pid <= 1) return
  try {
    process.kill(pid, "SIGKILL")
  } catch {
    // it has ended by itself
  }
}

function policy(mrEnclave: string, admin: string): string {
  return `version: 1
name: kill
services:
  writer:
    measurements: ["${mrEnclave}"]
    platforms: [dev]
    volumes: { data: write }
platforms:
  dev: { type: insecure-sim }
volumes:
  data: {}
access:
  keys: { alice: "${admin}" }
  update: { of: [alice] }
`
}
