import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const root = new URL("../..", import.meta.url).pathname

/** Why there can be no podman here, or false. */
export function lacksPodman(): string | false {
  if (process.getuid?.() !== 0) return "podman is used as root here"
  return spawnSync("podman", ["--version"]).status === 0 ? false : "no podman here"
}

export interface Done {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** What a kernel without a network bridge, and one user for everybody, can do. */
const limits = ["--network=none", "--ulimit=nofile=1000:1000", "--ulimit=nproc=1000:1000"]

/**
 * podman with storage of its own below `folder`, and `coffer-oci` as its runtime. Whatever a test does, `close` leaves
 * nothing of it: no container, no process, no mount, no file.
 */
export class Podman {
  readonly #folder: string
  /** podman takes a path of 50 characters at most. */
  readonly #runRoot = mkdtempSync("/run/coffer-podman-")
  readonly #global: readonly string[]

  /** `settings`: variables of coffer-oci, which gets none from podman. `runtime`: another one, runc for comparison. */
  constructor(folder: string, settings: Readonly<Record<string, string>>, runtime?: string) {
    this.#folder = join(folder, "podman")
    mkdirSync(this.#folder, { recursive: true })
    const launcher = join(this.#folder, "coffer-oci")
    const words = Object.entries(settings).map(([name, value]) => `${name}='${value}'`)
    writeFileSync(launcher, `#!/bin/sh\n${words.join(" ")} exec ${root}coffer-oci "$@"\n`, {
      mode: 0o755,
    })
    this.#global = [
      `--root=${this.#folder}/root`,
      `--runroot=${this.#runRoot}`,
      `--tmpdir=${this.#folder}/tmp`,
      `--runtime=${runtime ?? launcher}`,
    ]
  }

  /** Where skopeo finds, and puts, an image of this storage. */
  imageReference(name: string): string {
    return `containers-storage:[overlay@${this.#folder}/root+${this.#runRoot}]${name}`
  }

  load(from: string, name: string): void {
    const copied = spawnSync("skopeo", ["copy", "-q", from, this.imageReference(name)], {
      encoding: "utf8",
    })
    if (copied.status !== 0) throw new Error(`skopeo copy ${from}: ${copied.stderr}`)
  }

  /** The words of a podman command, for a test that spawns it itself. */
  command(verb: string, ...args: readonly string[]): string[] {
    return ["podman", ...this.#global, verb, ...(verb === "run" ? [...limits, ...args] : args)]
  }

  call(verb: string, ...args: readonly string[]): Done {
    const [program = "", ...words] = this.command(verb, ...args)
    return spawnSync(program, words, { encoding: "utf8", timeout: 120_000 })
  }

  /**
   * `podman rm -f`, which must say that it has removed it, and have removed it. When conmon was killed, podman waits five
   * seconds for conmon's exit file and gives up, whatever the runtime: the second time it works.
   */
  remove(name: string): void {
    let done = this.call("rm", "-f", "-t", "5", name)
    if (done.stderr.includes("timed out waiting for file"))
      done = this.call("rm", "-f", "-t", "5", name)
    const gone = this.call("container", "exists", name).status === 1
    if (done.status === 0 && gone) return
    throw new Error(`podman rm -f ${name}: ${done.status}, gone: ${gone}: ${done.stderr}`)
  }

  close(): void {
    const { stdout } = this.call("ps", "-aq", "--no-trunc")
    const ids = stdout.split("\n").filter((id) => id !== "")
    for (const id of ids) {
      try {
        this.remove(id)
      } catch (error) {
        console.error(error)
      }
    }
    // podman cleans up after a container by a process of its own, which mounts and unmounts as it likes.
    for (let i = 0; i < 200 && isNamed(this.#folder); i += 1) spawnSync("sleep", ["0.05"])
    removeMounted(this.#folder)
    removeMounted(this.#runRoot)
  }
}

function removeMounted(folder: string): void {
  for (let i = 0; existsSync(folder); i += 1)
    try {
      for (const at of mountsBelow(folder)) spawnSync("umount", ["-l", at])
      rmSync(folder, { recursive: true, force: true })
    } catch (error) {
      if (i === 20) throw error
      spawnSync("sleep", ["0.1"])
    }
}

/** Does conmon or podman run with this folder? */
function isNamed(folder: string): boolean {
  const { stdout } = spawnSync("ps", ["-eo", "args"], { encoding: "utf8" })
  return stdout
    .split("\n")
    .some((line) => /^\S*(conmon|podman) /.test(line) && line.includes(folder))
}

/** The innermost first. */
function mountsBelow(folder: string): string[] {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((at) => at.startsWith(`${folder}/`))
    .toReversed()
}
