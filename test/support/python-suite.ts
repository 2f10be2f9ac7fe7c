import assert from "node:assert/strict"
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { text } from "node:stream/consumers"
import { coffer } from "./cli.ts"
import { debianRootfs } from "./debian.ts"
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
const program = ["/usr/bin/python3", "/suite/python_suite.py"]
const launcher = new URL("../../coffer", import.meta.url).pathname
const own = new URL("../compat/", import.meta.url).pathname

/** Outcome by `MODULE TEST`. */
export type Outcomes = ReadonlyMap<string, string>

function outcomesOf(printed: string): Outcomes {
  const lines = printed.split("\n").flatMap((line) => {
    const [, test = "", outcome = ""] = /^(\S+ \S+) (ok|skipped|failure|error)$/.exec(line) ?? []
    return test === "" ? [] : [[test, outcome] as const]
  })
  return new Map(lines)
}

/** `TEST: OUTSIDE, in the enclave INSIDE`, where they differ. */
export function differences(outside: Outcomes, inside: Outcomes): string[] {
  const names = new Set([...outside.keys(), ...inside.keys()])
  return [...names].toSorted().flatMap((name) => {
    const [want = "none", have = "none"] = [outside.get(name), inside.get(name)]
    return want === have ? [] : [`${name}: ${want}, in the enclave ${have}`]
  })
}

/** Debian's Python with its test suite: once as a protected image, once as a root for plain runc. */
export class PythonSuite {
  readonly folder = mkdtempSync(join(tmpdir(), "coffer-python-"))
  readonly #at = (...names: readonly string[]) => join(this.folder, ...names)

  async prepare(): Promise<void> {
    const tests = this.#at("layer", "usr/lib/python3.11/test")
    for (const place of [tests, this.#at("layer", "suite"), this.#at("bundle", "rootfs")])
      mkdirSync(place, { recursive: true })
    for (const name of ["volume", "plain"]) mkdirSync(this.#at(name))
    copyFileSync(join(own, "python_suite.py"), this.#at("layer", "suite", "python_suite.py"))
    copyFileSync(join(own, "test_sqlite_modes.py"), join(tests, "test_sqlite_modes.py"))
    const owner = ["--owner=0", "--group=0", "--mtime=@0"]
    spawnSync("tar", [...owner, "-cf", this.#at("layer.tar"), "-C", this.#at("layer"), "."])
    const tars = [debianRootfs("python3-testsuite"), this.#at("layer.tar")]
    for (const tar of tars)
      assert.equal(spawnSync("tar", ["-xpf", tar, "-C", this.#at("bundle", "rootfs")]).status, 0)
    const from = layoutOfTars(tars, this.#at("source"), { Entrypoint: program })
    writeFileSync(this.#at("coffer.yaml"), JSON.stringify(suiteManifest))
    const to = `oci:${this.#at("protected")}:1`
    const made = await coffer("protect", from, to, "-f", this.#at("coffer.yaml"))
    assert.equal(made.code, 0, made.err)
  }

  /** By `coffer run`. */
  inside(words: readonly string[]): Promise<Outcomes> {
    const volume = ["--volume", `data=${this.#at("volume")}`]
    const command = ["run", `oci:${this.#at("protected")}:1`, ...volume, "--", ...words]
    const env = { ...process.env, COFFER_FROM_SOURCE: "1", XDG_DATA_HOME: this.#at("home") }
    return this.#outcomes(launcher, command, env)
  }

  /** By runc, in an ordinary container with the same rights. */
  outside(words: readonly string[]): Promise<Outcomes> {
    writeFileSync(this.#at("bundle", "config.json"), JSON.stringify(this.#plainConfig(words)))
    const id = `coffer-python-${process.pid}`
    const root = ["--root", this.#at("runc")]
    return this.#outcomes("runc", [...root, "run", "--bundle", this.#at("bundle"), id], process.env)
  }

  async #outcomes(command: string, words: readonly string[], env: NodeJS.ProcessEnv) {
    const child = spawn(command, words, { env, stdio: ["ignore", "pipe", "pipe"] })
    const ended = once(child, "exit")
    const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)])
    const [status] = (await ended) as [number | null]
    assert.equal(status, 0, err.slice(-4000))
    return outcomesOf(out)
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
    ]
    return {
      ociVersion: "1.0.2",
      process: {
        args: [...program, ...words],
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
const suiteManifest = {
  version: 1,
  name: "python-suite",
  service: { args: { allow: ["test_[a-z0-9_]+", "--tempdir=/data/t"] } },
  regions: [
    { path: "/data", protection: "encrypted", lifetime: "persistent", volume: "data", exec: true },
    host("/etc/hosts"),
    host("/etc/resolv.conf"),
  ],
}
