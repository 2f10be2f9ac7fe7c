/** A real Docker daemon, with everything of its own in one folder, and coffer-oci as one of its runtimes. */
import assert from "node:assert/strict"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { once } from "node:events"
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"
import { coffer } from "../support/cli.ts"
import { pauseProgram, recordingLauncher, removeControlGroups } from "../support/containerd.ts"
import { layoutOfTars } from "../support/debian-image.ts"
import { lacksOrdinaryUser, OrdinaryUser } from "../support/ordinary-user.ts"

const absent = lacks()
// A suite that is skipped has no end at which it could be removed.
const folder = absent === false ? mkdtempSync(join(tmpdir(), "coffer-docker-")) : ""
const at = (...names: readonly string[]) => join(folder, ...names)
const image = "localhost/pause:protected"
const group = `/coffer-docker-${process.pid}`

function lacks(): string | false {
  if (process.getuid?.() !== 0) return "dockerd needs root"
  if (process.arch !== "x64") return "the pause program is for x86-64"
  for (const tool of ["dockerd", "docker", "containerd", "skopeo"])
    if (spawnSync(tool, ["--version"]).status !== 0)
      return `no ${tool} here (apt-get install docker.io)`
  return existsSync("/dev/fuse") ? false : "no /dev/fuse here"
}

const data = { path: "/data", protection: "encrypted", lifetime: "persistent", volume: "data" }

async function makeImage(name: string, regions: readonly object[]): Promise<string> {
  const settings = { version: 1, name: "docker-test", regions }
  writeFileSync(at("coffer.yaml"), JSON.stringify(settings))
  const archive = at(`${name}.tar`)
  const to = `docker-archive:${archive}:localhost/${name}:protected`
  const made = await coffer("protect", `oci:${at("source")}:1`, to, "-f", at("coffer.yaml"))
  assert.equal(made.code, 0, made.err)
  return archive
}

async function makeImages(): Promise<readonly string[]> {
  mkdirSync(at("root"))
  writeFileSync(at("root", "pause"), pauseProgram(), { mode: 0o755 })
  spawnSync("tar", ["-cf", at("root.tar"), "-C", at("root"), "pause"])
  layoutOfTars([at("root.tar")], at("source"), { Entrypoint: ["/pause"] })
  return [await makeImage("pause", [data]), await makeImage("plain", [])]
}

/** A node that lists Docker's own program as a hook. */
function writeNodeConfig(): void {
  const dockerd = realpathSync(spawnSync("which", ["dockerd"], { encoding: "utf8" }).stdout.trim())
  const sha256 = createHash("sha256").update(readFileSync(dockerd)).digest("hex")
  const hooks = [{ path: dockerd, sha256 }]
  writeFileSync(
    at("node.yaml"),
    JSON.stringify({ version: 1, platform: { type: "insecure-sim" }, hooks }),
    { mode: 0o600 },
  )
}

/** What `coffer setup docker` would write, with a launcher that has a CAS of its own. */
async function writeSettings(): Promise<void> {
  const [title = "", ...lines] = (await coffer("setup", "docker", "--dry-run")).out
  assert.equal(title, "# /etc/docker/daemon.json")
  const settings = JSON.parse(lines.join("\n")) as { runtimes: Record<string, { path: string }> }
  const { path = "" } = settings.runtimes["coffer-oci"] ?? {}
  assert.ok(existsSync(path), path)
  const environment = `COFFER_FROM_SOURCE=1 COFFER_INSECURE_CAS_DIR=${at("cas")}`
  recordingLauncher(at("coffer-oci"), at("records"), environment)
  writeNodeConfig()
  const hooks = `${environment} COFFER_INSECURE_NODE_CONFIG=${at("node.yaml")}`
  recordingLauncher(at("coffer-hooks"), at("records"), hooks)
  const runtimes = Object.fromEntries(
    ["coffer-oci", "coffer-hooks"].map((name) => [name, { path: at(name) }]),
  )
  writeFileSync(at("daemon.json"), JSON.stringify({ runtimes }))
}

/** One dockerd, with all that is its own in a folder below ours. */
class Docker {
  readonly #socket: string
  readonly #daemon: ChildProcess

  constructor(name: string, ...options: readonly string[]) {
    const own = (what: string) => at(name, what)
    this.#socket = own("sock")
    // Who is root in a container of another user namespace is somebody else here.
    mkdirSync(at(name), { mode: 0o711 })
    const folders = ["--data-root", own("data"), "--exec-root", own("exec")]
    const network = ["--iptables=false", "--bridge=none", "-H", `unix://${this.#socket}`]
    const rest = ["--pidfile", own("pid"), "--cgroup-parent", group, ...network, ...options]
    this.#daemon = spawn("dockerd", ["--config-file", at("daemon.json"), ...folders, ...rest], {
      stdio: ["ignore", "ignore", "ignore"],
    })
  }

  call(...args: string[]) {
    return spawnSync("docker", ["-H", `unix://${this.#socket}`, ...args], {
      encoding: "utf8",
      timeout: 60_000,
    })
  }

  async load(...archives: readonly string[]): Promise<void> {
    for (let left = 300; left > 0 && this.call("info").status !== 0; left -= 1) await sleep(100)
    for (const archive of archives) {
      const loaded = this.call("load", "-q", "-i", archive)
      assert.equal(loaded.status, 0, loaded.stderr)
    }
  }

  async close(): Promise<void> {
    this.call("rm", "-f", ...this.call("ps", "-aq").stdout.split("\n").filter(Boolean))
    const ended = once(this.#daemon, "exit")
    this.#daemon.kill("SIGTERM")
    await ended
  }
}

function unmountAll(): void {
  const mounts = readFileSync("/proc/self/mounts", "utf8").split("\n").toReversed()
  for (const line of mounts) {
    const target = line.split(" ")[1] ?? ""
    if (target.startsWith(folder)) spawnSync("umount", ["-l", target])
  }
}

const refusedRuns: readonly (readonly [string, readonly string[], RegExp])[] = [
  ["an argument", ["--network", "host", image, "--evil"], /process\.args: wanted no arguments/],
  [
    "a variable",
    ["--network", "host", "-e", "LD_PRELOAD=/x", image],
    /process\.env: wanted variables .* found LD_PRELOAD/,
  ],
  ["--privileged", ["--network", "host", "--privileged", image], /privileged: wanted an ordinary/],
  ["--pid host", ["--network", "host", "--pid", "host", image], /pid: wanted a new one/],
]

function runRemapped(docker: Docker): void {
  // Docker gives no remapped container the host's network.
  const words = ["-d", "--runtime", "coffer-hooks", "--network", "none"]
  const started = docker.call("run", ...words, "localhost/plain:protected")
  assert.equal(started.status, 0, started.stderr)
  const id = started.stdout.trim()
  const pid = docker.call("inspect", "-f", "{{.State.Pid}}", id).stdout.trim()
  const [inside, outside] = readFileSync(`/proc/${pid}/uid_map`, "utf8").trim().split(/\s+/)
  assert.equal(inside, "0")
  assert.notEqual(outside, "0")
  assert.equal(docker.call("rm", "-f", id).status, 0)
}

void describe("docker", { skip: absent, timeout: 180_000 }, () => {
  let daemon: Docker | undefined
  const docker = (...words: string[]) => {
    assert.ok(daemon !== undefined)
    return daemon.call(...words)
  }
  const run = (...words: string[]) =>
    docker("run", "--runtime", "coffer-oci", "-v", `${at("volume")}:/data`, ...words)
  before(async () => {
    chmodSync(folder, 0o711)
    mkdirSync(at("volume"))
    const archives = await makeImages()
    await writeSettings()
    daemon = new Docker("d")
    await daemon.load(...archives)
  })
  after(async () => {
    await daemon?.close()
    unmountAll()
    removeControlGroups(group.slice(1))
    rmSync(folder, { recursive: true, force: true })
  })

  test("run, exec, kill: as docker knows it, twice with the same volume", () => {
    for (let i = 0; i < 2; i += 1) {
      const started = run("-d", "--network", "host", image)
      assert.equal(started.status, 0, started.stderr)
      const id = started.stdout.trim()
      const denied = docker("exec", id, "/bin/sh")
      assert.match(
        denied.stderr + denied.stdout,
        /exec: wanted a command that the measured manifest lists/,
      )
      assert.equal(docker("kill", id).status, 0)
      assert.equal(docker("wait", id).stdout, "137\n")
      assert.equal(docker("rm", id).status, 0)
    }
  })

  for (const [what, words, sentence] of refusedRuns)
    test(`refused: ${what}`, () => {
      const { status, stderr } = run("--rm", ...words)
      assert.equal(status, 125)
      assert.match(stderr, sentence)
    })

  test("Docker's own hook: refused, or run where the node lists it", (t) => {
    // Docker up to 27 makes its own networks in a hook.
    const version = docker("version", "-f", "{{.Server.Version}}").stdout
    if (Number.parseInt(version, 10) > 27) return t.skip(`docker ${version.trim()} has no hooks`)
    const { status, stderr } = run("--rm", "--network", "none", image)
    assert.equal(status, 125)
    assert.match(stderr, /hooks: wanted/)
    const words = ["-d", "--runtime", "coffer-hooks", "--network", "none"]
    const listed = docker("run", ...words, "localhost/plain:protected")
    assert.equal(listed.status, 0, listed.stderr)
    const id = listed.stdout.trim()
    // The hook has told Docker which network namespace the container has.
    const format = "{{.State.Running}} {{.NetworkSettings.SandboxKey}}"
    assert.match(docker("inspect", "-f", format, id).stdout, /^true \/\S+netns/)
    return assert.equal(docker("rm", "-f", id).status, 0)
  })

  test("userns-remap: root of the container is nobody of the host", {
    skip: lacksOrdinaryUser(),
  }, async () => {
    const user = new OrdinaryUser(at("user"))
    const remapped = new Docker("remapped", "--userns-remap", user.name)
    try {
      await remapped.load(at("plain.tar"))
      runRemapped(remapped)
    } finally {
      await remapped.close()
      unmountAll()
      user.close()
    }
  })
})
