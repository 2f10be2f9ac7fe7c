/** Real pods: containerd with the runtime `coffer`, driven over the CRI as the kubelet drives it. */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"
import { isSandbox, parseEngineConfig } from "../../src/runtime/index.ts"
import { coffer } from "../support/cli.ts"
import {
  Containerd,
  lacksContainerd,
  pauseProgram,
  recordingLauncher,
  removeControlGroups,
} from "../support/containerd.ts"
import type { CriClient, Decoded, Message } from "../support/cri.ts"
import { decode, mapField, textOf } from "../support/cri.ts"
import { debianRootfs, lacksDebian } from "../support/debian.ts"
import { layoutOfTars } from "../support/debian-image.ts"
import { assertNothingLeft } from "../support/nothing-left.ts"

const program = `
import http.server, json, os, pathlib, signal, sys, threading
count = pathlib.Path("/data/count")
count.write_text(str(int(count.read_text()) + 1 if count.exists() else 1))
seen = {"count": count.read_text(), "env": sorted(os.environ), "resolv": open("/etc/resolv.conf").read(),
  "account": os.path.exists("/var/run/secrets/kubernetes.io"), "log": os.path.exists("/dev/termination-log")}
class Handler(http.server.BaseHTTPRequestHandler):
  def do_GET(self):
    self.send_response(200)
    self.end_headers()
    self.wfile.write(json.dumps(seen).encode())
server = http.server.HTTPServer(("", 8080), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print("ready", flush=True)
server.serve_forever()
sys.exit(3)
`
const manifest = JSON.stringify({
  version: 1,
  name: "shop",
  service: { argv: ["/usr/bin/python3", "-c", program], exec: [["/bin/echo", "healthy"]] },
  regions: [
    { path: "/data", protection: "encrypted", lifetime: "persistent", volume: "data" },
    { path: "/etc/resolv.conf", protection: "none", source: "host" },
  ],
})

const lacks = lacksContainerd() || lacksDebian()
// A suite that is skipped has no end at which it could be removed.
const folder = lacks === false ? mkdtempSync(join(tmpdir(), "coffer-cri-")) : ""
const at = (...names: readonly string[]) => join(folder, ...names)
const cniDirectory = "/usr/lib/cni"
const ownNetwork = existsSync(join(cniDirectory, "ptp"))
let containerd: Containerd | undefined
let connected: CriClient | undefined

function call(method: string, message: Message): Promise<Decoded> {
  assert.ok(connected)
  return connected.call(method, message)
}

async function makeImages(): Promise<void> {
  mkdirSync(at("pause-root"))
  writeFileSync(at("pause-root", "pause"), pauseProgram(), { mode: 0o755 })
  spawnSync("tar", ["-cf", at("pause.tar"), "-C", at("pause-root"), "pause"])
  layoutOfTars([at("pause.tar")], at("pause"), { Entrypoint: ["/pause"] })
  layoutOfTars([debianRootfs("python3")], at("plain"))
  writeFileSync(at("coffer.yaml"), manifest)
  const { code, err } = await coffer(
    "protect",
    `oci:${at("plain")}:1`,
    `oci:${at("shop")}:1`,
    "-f",
    at("coffer.yaml"),
  )
  assert.equal(code, 0, err)
}

/** As `coffer setup containerd` does it, but for the launcher, which records, and a CAS of its own. */
async function startContainerd(): Promise<void> {
  const environment = `COFFER_FROM_SOURCE=1 COFFER_INSECURE_CAS_DIR=${at("cas")}`
  recordingLauncher(at("coffer-oci"), at("records"), environment)
  mkdirSync(at("net.d"))
  const ranges = [[{ subnet: "10.234.9.0/24" }]]
  const ipam = { type: "host-local", ranges, dataDir: at("ipam") }
  const plugins = [{ type: "ptp", ipMasq: false, ipam }]
  const network = { cniVersion: "0.4.0", name: "coffer-test", plugins }
  writeFileSync(at("net.d", "10-test.conflist"), JSON.stringify(network))
  containerd = new Containerd(at("containerd"), {
    launcher: at("coffer-oci"),
    network: { programs: cniDirectory, settings: at("net.d") },
  })
  await containerd.start()
  connected = containerd.client()
  for (const name of ["pause", "shop"]) containerd.importImage(at(name), `localhost/${name}:1`)
}

let pods = 0

function podConfig(name: string, changes: Message = {}): Message {
  const labels = { "io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": "default" }
  const namespaces = { 1: ownNetwork ? 0 : 2 }
  return {
    1: { 1: name, 2: `uid-${name}`, 3: "default" },
    2: name,
    3: at("logs"),
    4: { 1: ["10.96.0.10"], 2: ["default.svc.cluster.local"], 3: ["ndots:5"] },
    6: mapField(labels),
    8: { 1: `/coffer-test-${process.pid}`, 2: { 1: namespaces, 9: { 1: 0 }, ...changes } },
  }
}

// What the kubelet gives to every container, asked for or not.
const environment = {
  KUBERNETES_SERVICE_HOST: "10.96.0.1",
  KUBERNETES_PORT_443_TCP_ADDR: "10.96.0.1",
  SHOP_SERVICE_PORT_HTTP: "80",
  SHOP_PORT: "tcp://10.96.1.1:80",
}

function kubeletMounts(): Message[] {
  mkdirSync(at("account"), { recursive: true })
  writeFileSync(at("account", "token"), "a token")
  writeFileSync(at("hosts"), "127.0.0.1 localhost\n")
  writeFileSync(at("termination-log"), "")
  return [
    { 1: "/etc/hosts", 2: at("hosts") },
    { 1: "/dev/termination-log", 2: at("termination-log") },
    { 1: "/var/run/secrets/kubernetes.io/serviceaccount", 2: at("account"), 3: true },
  ]
}

interface Wanted {
  readonly image?: string
  readonly changes?: Message
  readonly mounts?: readonly Message[]
  readonly security?: Message
}

function containerConfig(name: string, wanted: Wanted): Message {
  mkdirSync(at("volume"), { recursive: true })
  const namespaces = { 1: ownNetwork ? 0 : 2, 2: 1 }
  return {
    1: { 1: name },
    2: { 1: wanted.image ?? "localhost/shop:1" },
    6: mapField(environment),
    7: [...kubeletMounts(), { 1: "/data", 2: at("volume") }, ...(wanted.mounts ?? [])],
    9: mapField({ "io.kubernetes.container.name": name }),
    10: mapField({ "io.kubernetes.container.hash": "b4a01a10" }),
    11: `${name}.log`,
    15: {
      1: { 1: 100_000, 3: 512, 4: 512 << 20, 5: 1000 },
      2: {
        3: namespaces,
        13: ["/proc/kcore", "/proc/keys"],
        14: ["/proc/sys"],
        15: { 1: 0 },
        ...wanted.security,
      },
    },
    ...wanted.changes,
  }
}

/** One pod with one container; removed afterwards. */
async function inPod(wanted: Wanted, use?: (id: string, pod: string) => Promise<void>) {
  const name = `shop-${(pods += 1)}`
  mkdirSync(at("logs"), { recursive: true })
  const sandbox = podConfig(name)
  const pod = textOf(await call("RunPodSandbox", { 1: sandbox, 2: "coffer" }), 1)
  try {
    const config = containerConfig(name, wanted)
    const created = await call("CreateContainer", { 1: pod, 2: config, 3: sandbox })
    const id = textOf(created, 1)
    await call("StartContainer", { 1: id })
    await use?.(id, pod)
  } finally {
    await call("StopPodSandbox", { 1: pod })
    await call("RemovePodSandbox", { 1: pod })
  }
}

async function answer(pod: string): Promise<Readonly<Record<string, unknown>>> {
  const status = await call("PodSandboxStatus", { 1: pod })
  const network = decode(part(status.get(1))).get(5)
  const address = ownNetwork ? textOf(decode(part(network)), 1) : "127.0.0.1"
  for (let left = 100; ; left -= 1) {
    try {
      const reply = await fetch(`http://${address}:8080/`)
      return (await reply.json()) as Readonly<Record<string, unknown>>
    } catch (error) {
      if (left === 0) throw error
      await sleep(100)
    }
  }
}

function part(value: number | Buffer | undefined): Buffer {
  assert.ok(Buffer.isBuffer(value))
  return value
}

function records(): string[] {
  return readdirSync(at("records")).map((name) => readFileSync(at("records", name), "utf8"))
}

/** Mounts and processes of ours. */
function leftovers(): string[] {
  const { stdout } = spawnSync("ps", ["-eo", "args"], { encoding: "utf8" })
  const mounts = readFileSync("/proc/self/mounts", "utf8")
  return [...mounts.split("\n"), ...stdout.split("\n")].filter(
    (line) =>
      line.includes(folder) && (line.includes(" fuse.coffer ") || line.includes(" shield ")),
  )
}

const refusedPods: readonly (readonly [string, Wanted, RegExp])[] = [
  [
    "a hostPath that the manifest does not declare",
    { mounts: [{ 1: "/usr/lib/python3.11", 2: "/srv" }] },
    /mounts: wanted mounts of volumes and host files .* found \/usr\/lib\/python3.11 from \/srv/,
  ],
  [
    "command and args of the pod",
    { changes: { 3: ["/bin/sh"], 4: ["-c", "id"] } },
    /process\.args\[0\]: wanted \/coffer\/service, found "\/bin\/sh"/,
  ],
  [
    "a variable of the pod",
    { changes: { 6: mapField({ LD_PRELOAD: "/data/evil.so" }) } },
    /process\.env: wanted variables .* found LD_PRELOAD/,
  ],
  [
    "hostPID",
    { security: { 3: { 1: ownNetwork ? 0 : 2, 2: 2 } } },
    /linux\.namespaces: pid: wanted a new one, found/,
  ],
  [
    "an image that is not protected",
    { image: "localhost/pause:1", changes: { 3: ["/pause"] } },
    /wanted a protected image/,
  ],
]

void describe("pods of Kubernetes, by containerd's CRI", { skip: lacks, timeout: 240_000 }, () => {
  before(async () => {
    await makeImages()
    await startContainerd()
  })
  after(async () => {
    connected?.close()
    await containerd?.stop()
    removeControlGroups(`coffer-test-${process.pid}`)
    rmSync(folder, { recursive: true, force: true })
  })

  test("a pod: pause without keys, what the kubelet mounts dropped, probes, stop", async () => {
    await inPod({}, async (id, pod) => {
      const seen = await answer(pod)
      assert.deepEqual(
        { ...seen, resolv: undefined },
        {
          count: "1",
          env: ["HOME", "LC_CTYPE", "PATH"],
          resolv: undefined,
          account: false,
          log: false,
        },
      )
      assert.match(String(seen["resolv"]), /nameserver 10\.96\.0\.10\noptions ndots:5/)
      const probe = await call("ExecSync", { 1: id, 2: ["/bin/echo", "healthy"], 3: 10 })
      assert.equal(textOf(probe, 1), "healthy\n")
      await assert.rejects(
        call("ExecSync", { 1: id, 2: ["/bin/sh", "-c", "id"], 3: 10 }),
        /exec: wanted a command that the measured manifest lists/,
      )
      const listed = (await coffer("ps")).out.join("\n")
      assert.ok(listed.includes(id.slice(0, 24)) && !listed.includes(pod.slice(0, 24)), listed)
      await call("StopContainer", { 1: id, 2: 10 })
      const status = await call("ContainerStatus", { 1: id })
      assert.equal(decode(part(status.get(1))).get(7), 3, "the service's own exit status")
    })
    assert.equal(records().filter((text) => isSandbox(parseEngineConfig(text))).length, 1)
    assertNothingLeft(leftovers)
  })

  test("the next pod of the same service finds its volume", async () => {
    await inPod({}, async (_, pod) => {
      assert.equal((await answer(pod))["count"], "2")
    })
  })

  for (const [what, wanted, sentence] of refusedPods)
    test(`refused: ${what}`, async () => {
      await assert.rejects(inPod(wanted), sentence)
      assertNothingLeft(leftovers)
    })
})
