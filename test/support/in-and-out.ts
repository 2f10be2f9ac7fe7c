import assert from "node:assert/strict"
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { text } from "node:stream/consumers"
import { coffer } from "./cli.ts"
import { debianRootfs, type RootfsName } from "./debian.ts"
import { layoutOfTars } from "./debian-image.ts"

/** What Docker gives to a container, without MKNOD, which an enclave never has. */
const capabilities = [
  "CAP_AUDIT_WRITE",
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_RAW",
  "CAP_SETFCAP",
  "CAP_SETGID",
  "CAP_SETPCAP",
  "CAP_SETUID",
  "CAP_SYS_CHROOT",
]
const launcher = new URL("../../coffer", import.meta.url).pathname

export interface Twice {
  readonly name: string
  readonly rootfs: RootfsName
  readonly program: readonly string[]
  /** Puts what the image has beside Debian below this folder. */
  readonly fill: (layer: string) => void
  /** Patterns of the arguments. */
  readonly arguments: readonly string[]
}

/** A Debian image with a program: once as a protected image, once as a root for plain runc. What it prints must be the same. */
export class InAndOut {
  readonly folder = mkdtempSync(join(tmpdir(), "coffer-twice-"))
  readonly #at = (...names: readonly string[]) => join(this.folder, ...names)

  readonly #what: Twice

  constructor(what: Twice) {
    this.#what = what
  }

  async prepare(): Promise<void> {
    for (const name of ["volume", "plain", "layer", "bundle/rootfs"])
      mkdirSync(this.#at(name), { recursive: true })
    this.#what.fill(this.#at("layer"))
    const owner = ["--owner=0", "--group=0", "--mtime=@0"]
    spawnSync("tar", [...owner, "-cf", this.#at("layer.tar"), "-C", this.#at("layer"), "."])
    const tars = [debianRootfs(this.#what.rootfs), this.#at("layer.tar")]
    for (const tar of tars)
      assert.equal(spawnSync("tar", ["-xpf", tar, "-C", this.#at("bundle", "rootfs")]).status, 0)
    const from = layoutOfTars(tars, this.#at("source"), { Entrypoint: this.#what.program })
    writeFileSync(this.#at("coffer.yaml"), JSON.stringify(manifestOf(this.#what)))
    const to = `oci:${this.#at("protected")}:1`
    const made = await coffer("protect", from, to, "-f", this.#at("coffer.yaml"))
    assert.equal(made.code, 0, made.err)
  }

  /** What it prints inside and outside. Both have ended when this settles, also when one has failed. */
  async both(words: readonly string[]): Promise<readonly [string, string]> {
    const [inside, outside] = [this.#inside(words), this.#outside(words)]
    await Promise.allSettled([inside, outside])
    return [await inside, await outside]
  }

  /** By `coffer run`. */
  #inside(words: readonly string[]): Promise<string> {
    const volume = ["--volume", `data=${this.#at("volume")}`]
    const command = ["run", `oci:${this.#at("protected")}:1`, ...volume, "--", ...words]
    const env = { ...process.env, COFFER_FROM_SOURCE: "1", XDG_DATA_HOME: this.#at("home") }
    return this.#printed(launcher, command, env)
  }

  /** By runc, in an ordinary container with the same rights. */
  #outside(words: readonly string[]): Promise<string> {
    writeFileSync(this.#at("bundle", "config.json"), JSON.stringify(this.#plainConfig(words)))
    const id = `coffer-plain-${process.pid}`
    const root = ["--root", this.#at("runc")]
    return this.#printed("runc", [...root, "run", "--bundle", this.#at("bundle"), id], process.env)
  }

  async #printed(command: string, words: readonly string[], env: NodeJS.ProcessEnv) {
    const child = spawn(command, words, { env, stdio: ["ignore", "pipe", "pipe"] })
    const ended = once(child, "exit")
    const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)])
    const [status] = (await ended) as [number | null]
    assert.equal(status, 0, err.slice(-4000))
    return out
  }

  #plainConfig(words: readonly string[]): object {
    const quiet = ["nosuid", "noexec", "nodev"]
    const mounts = [
      { destination: "/proc", type: "proc", source: "proc", options: quiet },
      { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755"] },
      {
        destination: "/dev/pts",
        type: "devpts",
        source: "devpts",
        options: ["nosuid", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
      },
      { destination: "/dev/shm", type: "tmpfs", source: "shm", options: [...quiet, "mode=1777"] },
      { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: quiet },
      { destination: "/sys", type: "sysfs", source: "sysfs", options: [...quiet, "ro"] },
      { destination: "/data", type: "bind", source: this.#at("plain"), options: ["bind"] },
      { destination: "/etc/hosts", type: "bind", source: this.#hosts(), options: ["bind"] },
      {
        destination: "/etc/resolv.conf",
        type: "bind",
        source: "/etc/resolv.conf",
        options: ["bind", "ro"],
      },
    ]
    return {
      ociVersion: "1.0.2",
      process: {
        args: [...this.#what.program, ...words],
        env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"],
        cwd: "/",
        user: { uid: 0, gid: 0 },
        capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      },
      root: { path: "rootfs" },
      hostname: "plain",
      mounts,
      linux: {
        namespaces: ["pid", "mount", "ipc", "uts"].map((type) => ({ type })),
        readonlyPaths: ["/proc/sys"],
      },
    }
  }

  #hosts(): string {
    const path = this.#at("hosts")
    writeFileSync(path, "127.0.0.1 localhost\n127.0.1.1 plain\n")
    return path
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}

const host = (path: string) => ({ path, protection: "none", source: "host" })

function manifestOf({ name, arguments: allow }: Twice): object {
  const data = { protection: "encrypted", lifetime: "persistent", volume: "data", exec: true }
  const regions = [{ path: "/data", ...data }, host("/etc/hosts"), host("/etc/resolv.conf")]
  return { version: 1, name, service: { args: { allow } }, regions }
}
