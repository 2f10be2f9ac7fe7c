import assert from "node:assert/strict"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { openVolume, verifyVolume } from "../../src/volume/index.ts"
import { coffer } from "./cli.ts"

const sources = join(import.meta.dirname, "../../src/cli/main.ts")
const bundle = join(import.meta.dirname, "../../dist/main.js")

export interface DaemonOptions {
  /** Run what `make setup` has built, as users do, when it is there: it takes 55 MiB less than the sources. */
  readonly bundled?: boolean
  /** Where the volume's directory is to be, when not beside the rest. */
  readonly disk?: string
  readonly pinned?: boolean
  readonly protection?: "encrypted" | "authenticated"
}

/** Why no volume can be mounted here, or false: for the `skip` of a test. */
export function cannotServe(): string | false {
  if (process.getuid?.() !== 0) return "needs root to mount"
  return existsSync("/dev/fuse") ? false : "needs /dev/fuse"
}

/** A new volume, and its daemon as a process of its own: `coffer volume mount`. Close it with `end`, also after a failure. */
export class VolumeDaemon {
  readonly folder: string
  readonly volume: string
  readonly mount: string
  readonly keyFile: string
  readonly pin: string | undefined
  /** What the daemon has said on stderr since the last `start`. */
  errors = ""
  /** Whether the daemon is the bundle. */
  readonly bundled: boolean
  #child: ChildProcess | undefined

  private constructor(folder: string, disk: string, options: DaemonOptions) {
    const { bundled = false, pinned = true } = options
    this.bundled = bundled && existsSync(bundle)
    this.folder = folder
    this.volume = join(disk, "volume")
    this.mount = join(folder, "mnt")
    this.keyFile = join(folder, "key")
    this.pin = pinned ? join(folder, "pin") : undefined
  }

  /** Makes the volume; `start` mounts it. */
  static async create(options: DaemonOptions = {}): Promise<VolumeDaemon> {
    const { disk, protection } = options
    const folder = mkdtempSync(join(tmpdir(), "coffer-daemon-"))
    chmodSync(folder, 0o711) // services run as users of their own below it
    const made = new VolumeDaemon(folder, disk ?? folder, options)
    try {
      mkdirSync(made.mount)
      await coffer("keygen", "--volume", made.keyFile)
      const kind = protection === undefined ? [] : ["--protection", protection]
      const ran = await coffer("volume", "create", made.volume, ...made.source, ...kind)
      assert.equal(ran.code, 0, ran.err)
      return made
    } catch (error) {
      rmSync(folder, { recursive: true })
      throw error
    }
  }

  /** The options that name key and pin. */
  get source(): readonly string[] {
    const pin = this.pin === undefined ? [] : ["--pin", this.pin]
    return ["--key-file", this.keyFile, ...pin]
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  /** Mounts, and resolves when the daemon says that it is ready. */
  async start(...options: readonly string[]): Promise<void> {
    const main = this.bundled ? bundle : sources
    const args = ["--disable-warning=ExperimentalWarning", main, "volume", "mount"]
    const child = spawn(
      process.execPath,
      [...args, this.volume, this.mount, ...this.source, ...options],
      { stdio: ["ignore", "pipe", "pipe"] },
    )
    this.#child = child
    this.errors = ""
    child.stderr.on("data", (bytes: Buffer) => {
      this.errors += bytes.toString()
    })
    await new Promise<void>((resolve, reject) => {
      child.stdout.once("data", () => resolve())
      child.once("exit", () => reject(new Error(`the mount ended: ${this.errors}`)))
    })
  }

  /** SIGKILL to the daemon, in the middle of whatever it does; the dead mount is taken away. */
  async kill(): Promise<void> {
    await this.#ended("SIGKILL")
    spawnSync("umount", ["-l", this.mount])
  }

  /** A clean end. Resolves with the exit code of the daemon. */
  async stop(): Promise<number | null> {
    return await this.#ended("SIGTERM")
  }

  async #ended(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child
    this.#child = undefined
    if (child === undefined) return null
    if (child.exitCode === null && child.signalCode === null) {
      const gone = new Promise((resolve) => {
        child.once("exit", resolve)
      })
      child.kill(signal)
      await gone
    }
    return child.exitCode
  }

  /** Memory of the daemon in MiB: what is resident now, and the most that ever was. */
  memory(): { readonly now: number; readonly peak: number } {
    const status = readFileSync(`/proc/${this.pid}/status`, "latin1")
    const of = (name: string) =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0) / 1024
    return { now: Math.round(of("VmRSS")), peak: Math.round(of("VmHWM")) }
  }

  /** Every byte of the volume verifies, and its filesystem opens. It must not be mounted. */
  checkWhole(): void {
    const key = readFileSync(this.keyFile)
    const pin = this.pin === undefined ? {} : { pin: this.pin }
    const source = { directory: this.volume, key, ...pin }
    const { findings } = verifyVolume(source, () => undefined)
    assert.deepEqual(
      findings.filter(({ what }) => what === "damage"),
      [],
    )
    openVolume({ ...source, readOnly: true }, (error) => assert.ifError(error)).destroy()
  }

  /** Nothing stays behind: no process, no mount, no folder. */
  async end(): Promise<void> {
    await this.kill()
    rmSync(this.folder, { recursive: true, maxRetries: 5 })
  }
}

/** A volume that is mounted while `use` runs. */
export async function withDaemon(
  options: DaemonOptions,
  use: (daemon: VolumeDaemon) => void | Promise<void>,
): Promise<void> {
  const daemon = await VolumeDaemon.create(options)
  try {
    await daemon.start()
    await use(daemon)
  } finally {
    await daemon.end()
  }
}
