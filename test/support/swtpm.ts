import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as wait } from "node:timers/promises"

/** `false` when there is a software TPM, else why a test is skipped. */
export const noSwtpm: string | false =
  spawnSync("swtpm", ["--version"]).status === 0 ? false : "no swtpm on this machine"

/** The same, for a maker of software TPMs. */
export const noSwtpmSetup: string | false =
  noSwtpm !== false
    ? noSwtpm
    : spawnSync("swtpm_localca", ["--version"]).error === undefined
      ? false
      : "no swtpm-tools on this machine"

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

  /** Its maker: gives it an endorsement key with a certificate, under an authority of its own. Before `start`. */
  manufacture(): { readonly root: string; readonly authority: string } {
    const at = (name: string) => join(this.folder, name)
    const ca = at("maker")
    mkdirSync(ca)
    const place = `statedir = ${ca}\nsigningkey = ${ca}/sign.pem\nissuercert = ${ca}/issuer.pem\ncertserial = ${ca}/serial\n`
    writeFileSync(at("localca.conf"), place)
    writeFileSync(
      at("localca.options"),
      "--platform-manufacturer Test\n--platform-version 1\n--platform-model VM\n",
    )
    const tool = `create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = ${at("localca.conf")}\ncreate_certs_tool_options = ${at("localca.options")}\n`
    writeFileSync(at("setup.conf"), tool)
    const { status, stdout } = spawnSync(
      "swtpm_setup",
      ["--tpm2", "--tpmstate", this.folder, "--create-ek-cert", "--config", at("setup.conf")],
      { encoding: "utf8" },
    )
    if (status !== 0) throw new Error(`swtpm_setup: ${stdout}`)
    return { root: join(ca, "swtpm-localca-rootca-cert.pem"), authority: join(ca, "issuer.pem") }
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
