import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as wait } from "node:timers/promises"

/** `false` when there is a software TPM, else why a test is skipped. */
export const noSwtpm: string | false =
  spawnSync("swtpm", ["--version"]).status === 0 ? false : "no swtpm on this machine"

/** A socket's file is there before the socket listens; the kernel's table says when it does. */
function isListening(socket: string): boolean {
  const acceptsConnections = "00010000"
  return readFileSync("/proc/net/unix", "utf8")
    .split("\n")
    .some((line) => line.endsWith(` ${socket}`) && line.includes(` ${acceptsConnections} `))
}

/** A software TPM in a folder of its own. `stop` before the test ends. */
export class SoftwareTpm {
  readonly folder = mkdtempSync(join(tmpdir(), "coffer-swtpm-"))
  #child: ChildProcess | undefined

  /** For `Tpm.open`. */
  get address(): string {
    return `unix:${join(this.folder, "socket")}`
  }

  /** For `TPM2TOOLS_TCTI`. */
  get tcti(): string {
    return `swtpm:path=${join(this.folder, "socket")}`
  }

  /** Powers it on; `start` after `halt` is another boot with the same keys and NV memory. */
  async start(): Promise<this> {
    const socket = join(this.folder, "socket")
    this.#child = spawn(
      "swtpm",
      [
        "socket",
        "--tpm2",
        `--tpmstate=dir=${this.folder}`,
        `--ctrl=type=unixio,path=${socket}.ctrl`,
        `--server=type=unixio,path=${socket}`,
        "--flags=not-need-init,startup-clear",
      ],
      { stdio: "ignore" },
    )
    for (let i = 0; i < 500 && !isListening(socket); i += 1) await wait(10)
    return this
  }

  async halt(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, "exit")
    child.kill()
    await ended
    rmSync(join(this.folder, "socket"), { force: true })
  }

  async stop(): Promise<void> {
    await this.halt()
    rmSync(this.folder, { recursive: true, force: true })
  }
}
