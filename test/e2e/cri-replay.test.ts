/** config.json as containerd's CRI wrote it (recorded, see cri.test.ts), replayed through coffer-oci with no engine at all. */
import assert from "node:assert/strict"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"
import { coffer } from "../support/cli.ts"
import { pauseProgram, removeControlGroups } from "../support/containerd.ts"
import { layoutOfTars } from "../support/debian-image.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-replay-"))
const at = (...names: readonly string[]) => join(folder, ...names)
const launcher = new URL("../../coffer-oci", import.meta.url).pathname
const manifest = {
  version: 1,
  name: "replay",
  service: { exec: [["/pause"]], user: "0:0" },
  regions: [
    { path: "/data", protection: "encrypted", lifetime: "persistent", volume: "data" },
    { path: "/etc/hosts", protection: "none", source: "host" },
  ],
}
/** Holds the pod's network, as a CNI plugin would. */
let network: ChildProcess

function lacks(): string | false {
  if (process.getuid?.() !== 0) return "needs root"
  if (process.arch !== "x64") return "the pause program is for x86-64"
  if (!existsSync("/dev/fuse")) return "no /dev/fuse here"
  return spawnSync("runc", ["--version"]).status === 0 ? false : "no runc here"
}

async function makeRoots(): Promise<void> {
  mkdirSync(at("sandbox", "rootfs"), { recursive: true })
  writeFileSync(at("sandbox", "rootfs", "pause"), pauseProgram(), { mode: 0o755 })
  spawnSync("tar", ["-cf", at("pause.tar"), "-C", at("sandbox", "rootfs"), "pause"])
  layoutOfTars([at("pause.tar")], at("source"), { Entrypoint: ["/pause"] })
  writeFileSync(at("coffer.yaml"), JSON.stringify(manifest))
  const from = `oci:${at("source")}:1`
  const made = await coffer("protect", from, `oci:${at("shop")}:1`, "-f", at("coffer.yaml"))
  assert.equal(made.code, 0, made.err)
  const unpacked = ["unpack", "--image", `${at("shop")}:1`, at("container")]
  assert.equal(spawnSync("umoci", unpacked).status, 0)
  for (const name of ["volume", "account"]) mkdirSync(at(name))
  for (const name of ["term", "hostname", "resolv.conf"]) writeFileSync(at(name), "")
  writeFileSync(at("hosts"), "10.96.0.7 shop-0\n")
}

/** The recorded file, with the paths of this machine in it. */
function recorded(kind: "sandbox" | "container"): Config {
  const text = readFileSync(`test/vectors/cri/containerd-${kind}.json`, "utf8")
    .replace(/"\/var\/run\/netns\/[^"]*"/, `"/proc/${network.pid}/ns/net"`)
    .replaceAll(/"\/var\/lib\/kubelet\/[^"]*\/volumes\/data"/g, `"${at("volume")}"`)
    .replaceAll(/"\/var\/lib\/kubelet\/[^"]*\/(\w+)"/g, `"${folder}/$1"`)
    .replaceAll(/"\/run\/containerd\/[^"]*\/(hostname|resolv\.conf)"/g, `"${folder}/$1"`)
    .replaceAll(/"\/run\/containerd\/[^"]*\/shm"/g, '"/dev/shm"')
    // Nobody here may have less of it than his parent.
    .replace(/"oomScoreAdj": -?\d+/, '"oomScoreAdj": 0')
    .replace(/\/kubepods\/[^"]*/, `/coffer-replay-${process.pid}/${kind}`)
  return JSON.parse(text) as Config
}

function oci(...args: string[]) {
  const log = ["--root", at("runc"), "--log", at("log"), "--log-format", "json"]
  // A file: a container keeps its standard error open, and a pipe would not end before it.
  const errors = openSync(at("stderr"), "w")
  const { status } = spawnSync(launcher, [...log, ...args], {
    env: {
      PATH: process.env["PATH"],
      COFFER_FROM_SOURCE: "1",
      COFFER_INSECURE_CAS_DIR: at("cas"),
    },
    stdio: ["ignore", "ignore", errors],
    timeout: 60_000,
  })
  closeSync(errors)
  return { status, stderr: readFileSync(at("stderr"), "utf8") }
}

function create(kind: "sandbox" | "container", config: Config, id: string) {
  writeFileSync(at(kind, "config.json"), JSON.stringify(config))
  return oci("create", "--bundle", at(kind), "--pid-file", at(`${id}.pid`), id)
}

function pidOf(id: string): number {
  return Number(readFileSync(at(`${id}.pid`), "utf8"))
}

interface Config {
  mounts: { destination: string; type: string; source: string; options: string[] }[]
  process: { args: string[]; env: string[] }
  annotations: Record<string, string>
  hooks?: unknown
  linux: { namespaces: { type: string; path?: string }[] }
}

/** What a node that somebody else owns would change in the recorded file. */
const hostile: readonly (readonly [string, (config: Config) => void, RegExp])[] = [
  [
    "a hostPath over the binary filesystem",
    (config) => {
      const options = ["rbind", "rprivate", "rw"]
      config.mounts.push({ destination: "/usr", type: "bind", source: "/usr", options })
    },
    /mounts: wanted mounts of volumes and host files .* found \/usr from \/usr/,
  ],
  [
    "a volume that is not a directory of the host",
    (config) => {
      for (const mount of config.mounts)
        if (mount.destination === "/data") Object.assign(mount, { type: "tmpfs", options: [] })
    },
    /mounts: \/data: wanted a file or directory of the host, found type tmpfs/,
  ],
  [
    "another command",
    (config) => void (config.process.args = ["/bin/sh", "-c", "id"]),
    /process\.args\[0\]: wanted \/coffer\/service/,
  ],
  [
    "a variable of the preloader",
    (config) => void config.process.env.push("LD_PRELOAD=/data/evil.so"),
    /process\.env: wanted variables .* found LD_PRELOAD/,
  ],
  [
    "the process namespace of the pod (shareProcessNamespace)",
    (config) => {
      for (const one of config.linux.namespaces) if (one.type === "pid") one.path = "/proc/1/ns/pid"
    },
    /linux\.namespaces: pid: wanted a new one, found one to join/,
  ],
  [
    "a hook of a device plugin",
    (config) => void (config.hooks = { prestart: [{ path: "/usr/bin/hook" }] }),
    /hooks: wanted nothing/,
  ],
]

function networkOf(id: string): string {
  return readlinkSync(`/proc/${pidOf(id)}/ns/net`)
}

void describe("config.json as containerd writes it", { skip: lacks(), timeout: 120_000 }, () => {
  before(async () => {
    network = spawn("unshare", ["-n", "sleep", "600"])
    await makeRoots()
  })
  after(() => {
    for (const id of ["shop", "pause"]) oci("delete", "--force", id)
    network.kill("SIGKILL")
    removeControlGroups(`coffer-replay-${process.pid}`)
    rmSync(folder, { recursive: true, force: true })
  })

  test("pause goes to runc as it is: no shield, no attestation, no keys", () => {
    const { status, stderr } = create("sandbox", recorded("sandbox"), "pause")
    assert.equal(status, 0, stderr)
    assert.equal(oci("start", "pause").status, 0)
    assert.ok(!existsSync(at("cas")))
    assert.ok(!existsSync(at("log")) || !readFileSync(at("log"), "utf8").includes("MrEnclave"))
  })

  test("the service joins the pod's namespaces and says what it dropped", async () => {
    const config = JSON.parse(
      JSON.stringify(recorded("container")).replaceAll(
        /\/proc\/\d+\/ns\//g,
        `/proc/${pidOf("pause")}/ns/`,
      ),
    ) as Config
    const { status, stderr } = create("container", config, "shop")
    assert.equal(status, 0, stderr)
    const started = oci("start", "shop")
    assert.equal(started.status, 0, started.stderr)
    assert.equal(networkOf("shop"), networkOf("pause"))
    const log = readFileSync(at("log"), "utf8")
    for (const what of [
      "enclave replay, MrEnclave ",
      "dropped: mounts: /dev/termination-log",
      "dropped: mounts: /var/run/secrets/kubernetes.io/serviceaccount",
      "dropped: mounts: /etc/hostname",
      "dropped: process.env: KUBERNETES_SERVICE_HOST",
      "dropped: annotations",
      "shared: network: joined, /proc/",
    ])
      assert.ok(log.includes(what), `${what} in ${log}`)
    const hosts = readFileSync(`/proc/${pidOf("shop")}/root/etc/hosts`, "utf8")
    assert.equal(hosts, "10.96.0.7 shop-0\n")
    assert.ok(!existsSync(`/proc/${pidOf("shop")}/root/var/run/secrets`))
    assert.equal(oci("kill", "shop", "KILL").status, 0)
    // runc wants it stopped first, and a busy machine takes its time.
    let removed = oci("delete", "shop")
    for (let left = 50; left > 0 && removed.status !== 0; left -= 1) {
      await sleep(200)
      removed = oci("delete", "shop")
    }
    assert.equal(removed.status, 0, removed.stderr)
  })

  for (const [what, change, sentence] of hostile)
    test(`refused: ${what}`, () => {
      const config = recorded("container")
      change(config)
      const { status, stderr } = create("container", config, "hostile")
      assert.equal(status, 1)
      assert.match(stderr, sentence)
      assert.ok(!existsSync(at("runc", "hostile")))
    })
})
