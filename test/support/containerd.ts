import assert from "node:assert/strict"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { containerdConfiguration } from "../../src/cli/containerd-config.ts"
import { CriClient } from "./cri.ts"

/** Why there can be no containerd of our own here, or false. */
export function lacksContainerd(): string | false {
  if (process.getuid?.() !== 0) return "containerd needs root"
  if (process.arch !== "x64") return "the pause program is for x86-64"
  if (spawnSync("containerd", ["--version"]).status !== 0)
    return "no containerd here (apt-get install containerd)"
  return existsSync("/dev/fuse") ? false : "no /dev/fuse here"
}

/** An x86-64 program that does nothing, for ever: what the pause image of Kubernetes has. */
export function pauseProgram(): Buffer {
  const base = 0x400000n
  const code = Buffer.from("b8220000000f05ebf7", "hex") // mov eax, SYS_pause; syscall; jmp back
  const elf = Buffer.alloc(0x78)
  elf.write("\x7fELF\x02\x01\x01", "latin1")
  elf.writeUInt16LE(2, 0x10)
  elf.writeUInt16LE(62, 0x12)
  elf.writeUInt32LE(1, 0x14)
  elf.writeBigUInt64LE(base + 0x78n, 0x18)
  elf.writeBigUInt64LE(0x40n, 0x20)
  elf.writeUInt16LE(0x40, 0x34)
  elf.writeUInt16LE(0x38, 0x36)
  elf.writeUInt16LE(1, 0x38)
  elf.writeUInt32LE(1, 0x40)
  elf.writeUInt32LE(5, 0x44)
  elf.writeBigUInt64LE(base, 0x50)
  elf.writeBigUInt64LE(base, 0x58)
  elf.writeBigUInt64LE(BigInt(elf.length + code.length), 0x60)
  elf.writeBigUInt64LE(BigInt(elf.length + code.length), 0x68)
  elf.writeBigUInt64LE(0x1000n, 0x70)
  return Buffer.concat([elf, code])
}

export interface ContainerdOptions {
  /** In place of `coffer-oci`. */
  readonly launcher: string
  /** Folders of the CNI's programs and settings. */
  readonly network: { readonly programs: string; readonly settings: string }
}

/** A containerd with everything of its own in one folder: nothing of the machine's is touched. */
export class Containerd {
  readonly folder: string
  readonly socket: string
  readonly #settings: string
  #daemon: ChildProcess | undefined

  constructor(folder: string, { launcher, network }: ContainerdOptions) {
    this.folder = folder
    this.socket = join(folder, "containerd.sock")
    const settings = `version = 2
root = "${folder}/root"
state = "${folder}/state"
[grpc]
  address = "${this.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  disable_tcp_service = true
  # Where the machine gives us no CAP_SYS_RESOURCE.
  restrict_oom_score_adj = true
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${network.programs}"
    conf_dir = "${network.settings}"
`
    this.#settings = containerdConfiguration(settings, "config.toml", launcher)
  }

  async start(): Promise<void> {
    mkdirSync(this.folder, { recursive: true })
    const config = join(this.folder, "config.toml")
    writeFileSync(config, this.#settings)
    this.#daemon = spawn("containerd", ["-c", config], { stdio: ["ignore", "ignore", "pipe"] })
    let said = ""
    this.#daemon.stderr?.on("data", (part: Buffer) => void (said += part.toString()))
    for (let i = 0; i < 200; i += 1) {
      if (this.ctr("plugins", "ls").stdout.includes("cri ")) break
      await sleep(100)
    }
    assert.match(this.ctr("plugins", "ls").stdout, /cri .* ok/, said)
  }

  client(): CriClient {
    return new CriClient(this.socket)
  }

  /** `ctr` in the namespace of Kubernetes. */
  ctr(...args: string[]) {
    return spawnSync("ctr", ["-a", this.socket, "-n", "k8s.io", ...args], { encoding: "utf8" })
  }

  /** From an image layout, by this name. */
  importImage(layout: string, name: string): void {
    const archive = `${layout}.tar`
    const copied = spawnSync("skopeo", [
      "copy",
      "-q",
      layoutOf(layout),
      `oci-archive:${archive}:${name}`,
    ])
    assert.equal(copied.status, 0, String(copied.stderr))
    const { status, stderr } = this.ctr("images", "import", archive)
    assert.equal(status, 0, stderr)
  }

  async stop(): Promise<void> {
    const daemon = this.#daemon
    if (daemon === undefined) return
    this.#daemon = undefined
    for (const id of this.ctr("tasks", "ls", "-q").stdout.split("\n"))
      if (id !== "") this.ctr("tasks", "kill", "-s", "SIGKILL", id)
    const ended = once(daemon, "exit")
    daemon.kill("SIGTERM")
    await ended
    this.#unmount()
  }

  #unmount(): void {
    const mounts = readFileSync("/proc/self/mounts", "utf8").split("\n")
    for (const line of mounts.toReversed()) {
      const [, target = ""] = line.split(" ")
      if (target.startsWith(this.folder)) spawnSync("umount", ["-l", target])
    }
  }
}

function layoutOf(directory: string): string {
  return `oci:${directory}:1`
}

/** A launcher for containerd, which gives its runtime no environment of ours; keeps each config.json in `records`. */
export function recordingLauncher(path: string, records: string, environment: string): void {
  const program = new URL("../../coffer-oci", import.meta.url).pathname
  mkdirSync(records, { recursive: true })
  writeFileSync(
    path,
    `#!/bin/sh
before=
for word in "$@"; do
  [ "$before" != --bundle ] || cp "$word/config.json" "${records}/$(basename "$word").json"
  before=$word
done
${environment} exec ${program} "$@"
`,
  )
  chmodSync(path, 0o755)
}

/** Control groups outlive the containers that were in them: removes those below `name`. */
export function removeControlGroups(name: string): void {
  const where = ["/sys/fs/cgroup", "-depth", "-type", "d", "-path", `*/${name}*`]
  spawnSync("find", [...where, "-exec", "rmdir", "{}", ";"])
}
