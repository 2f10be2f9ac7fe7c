import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  realpathSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"
import { utf8OfByteString } from "../../src/bytes/index.ts"
import { parseCofferYaml } from "../../src/manifest/index.ts"
import { imageTree, LayoutWriter, openImage, parseImageReference } from "../../src/oci/index.ts"
import { protectImage } from "../../src/protect/index.ts"
import { systemTool } from "../../src/runtime/system-tool.ts"
import { sealedPath } from "../../src/seal/index.ts"
import { lookup, readPieces } from "../../src/tree/index.ts"
import { debianRootfs, lacksDebian } from "../support/debian.ts"
import { assertNothingLeft } from "../support/nothing-left.ts"
import { type Done, lacksPodman, Podman } from "../support/podman.ts"

const root = new URL("../..", import.meta.url).pathname
const program = `
import os, sys
open('/etc/written', 'w').write('upper')
print('written', open('/etc/written').read(), 'args', sys.argv[1:], 'stdin', repr(sys.stdin.read()))
path = '/data/count'
count = int(open(path).read()) + 1 if os.path.exists(path) else 1
open(path, 'w').write(str(count))
print('count', count, 'env', os.environ.get('LANG'), os.environ.get('TZ'))
sys.stdout.flush()
if '--wait' in sys.argv:
  import signal, time
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))
  time.sleep(60)
sys.exit(7)
`
// Other runs of this test on the machine have other names.
const serviceName = `e2e-${process.pid}`
const yaml = JSON.stringify({
  version: 1,
  name: serviceName,
  service: {
    argv: ["/usr/bin/python3", "-c", program],
    args: { allow: ["--wait", "--port=[0-9]+"] },
    exec: [["/bin/echo", "healthy"]],
  },
  env: { set: { LANG: "C.UTF-8", PATH: "/usr/bin:/bin" }, allow: { TZ: "[A-Za-z/]+" } },
  regions: [{ path: "/data", protection: "encrypted", lifetime: "persistent", volume: "data" }],
})

let folder = ""
let sealed = ""
let engine: Podman
const image = "localhost/coffer-e2e:1"

function lacks(): string | false {
  const debian = lacksDebian()
  if (debian !== false) return debian
  if (!existsSync("/dev/fuse")) return "no /dev/fuse here"
  return spawnSync("runc", ["--version"]).status === 0 ? false : "no runc here"
}

/** The source image: a layer that is the tar as it is. */
function layoutOf(tar: string, directory: string): void {
  const writer = new LayoutWriter(directory)
  const hash = createHash("sha256")
  const layer = writer.addBlob("application/vnd.oci.image.layer.v1.tar", (sink) => {
    const fd = openSync(tar, "r")
    const piece = Buffer.alloc(1 << 20)
    for (let size = readSync(fd, piece); size > 0; size = readSync(fd, piece)) {
      hash.update(piece.subarray(0, size))
      sink(piece.subarray(0, size))
    }
    closeSync(fd)
  })
  const config = writer.addDocument("application/vnd.oci.image.config.v1+json", {
    architecture: process.arch === "arm64" ? "arm64" : "amd64",
    os: "linux",
    rootfs: { type: "layers", diff_ids: [`sha256:${hash.digest("hex")}`] },
  })
  const manifest = writer.addDocument("application/vnd.oci.image.manifest.v1+json", {
    schemaVersion: 2,
    config: { ...config },
    layers: [{ ...layer }],
  })
  writer.finish(manifest, "1")
}

async function* noInput(): AsyncGenerator<Uint8Array> {}

async function makeProtected(): Promise<void> {
  layoutOf(debianRootfs("python3"), join(folder, "source"))
  await protectImage({
    from: parseImageReference(`oci:${folder}/source:1`),
    to: parseImageReference(`oci:${folder}/protected:1`),
    service: parseCofferYaml(yaml, "coffer.yaml"),
    name: serviceName,
    input: noInput(),
    output: () => undefined,
    progress: () => () => undefined,
  })
  rmSync(join(folder, "source"), { recursive: true })
  const opened = await openImage(parseImageReference(`oci:${folder}/protected:1`), {
    platform: { os: "linux", architecture: process.arch === "arm64" ? "arm64" : "amd64" },
    input: noInput(),
  })
  const tree = await imageTree(opened, () => undefined)
  const node = lookup(tree.root, utf8OfByteString(sealedPath))
  assert.ok(node?.kind === "file")
  sealed = join(folder, "service")
  const fd = openSync(sealed, "w")
  for (const { bytes } of readPieces(node.content, { offset: 0, size: node.content.size }))
    writeSync(fd, bytes)
  closeSync(fd)
  tree.close()
  opened.close()
}

const environment = () => ({
  ...process.env,
  COFFER_FROM_SOURCE: "1",
  XDG_DATA_HOME: join(folder, "data-home"),
  TZ: "Europe/Berlin",
  LD_PRELOAD_OF_THE_HOST: "x",
})

function run(binary: string, ...args: string[]): Done {
  const volume = ["--volume", `data=${folder}/volume`]
  return spawnSync(join(root, "coffer"), ["run", binary, ...volume, ...args], {
    encoding: "utf8",
    input: "from the host",
    env: environment(),
    timeout: 60_000,
  })
}

/** Nothing of ours is mounted, running or lying about. */
function leftovers(): string[] {
  const mounts = readFileSync("/proc/self/mounts", "utf8").split("\n")
  const { stdout } = spawnSync("ps", ["-eo", "args"], { encoding: "utf8" })
  const found = [...mounts, ...stdout.split("\n")].filter(
    (line) => line.includes("/run/coffer/") || line.includes("coffer-monitor"),
  )
  return found.filter(
    (line) => line.includes(serviceName) || line.includes(folder) || line.includes(" fuse.coffer "),
  )
}

/** With a mount(8) in a mount namespace of its own that mounts nothing. */
function refusedMount(): void {
  const refusing = join(folder, "mount")
  const text = "#!/bin/sh\necho no overlay in this kernel >&2\nexit 32\n"
  writeFileSync(refusing, text, { mode: 0o755 })
  const inPlace = `mount --bind ${refusing} ${realpathSync(systemTool("mount"))} && exec "$@"`
  const words = ["run", sealed, "--volume", `data=${folder}/volume`]
  const { status, stdout, stderr } = spawnSync(
    "unshare",
    ["-m", "sh", "-c", inPlace, "sh", join(root, "coffer"), ...words],
    { encoding: "utf8", env: environment(), timeout: 60_000 },
  )
  assert.deepEqual([status, stdout], [125, ""], stderr)
  assert.match(stderr, /wanted the enclave's mounts, found: no overlay in this kernel/)
  assertNothingLeft(leftovers)
}

async function prepare(): Promise<void> {
  folder = mkdtempSync(join(tmpdir(), "coffer-e2e-"))
  await makeProtected()
  if (lacksPodman() !== false) return
  engine = new Podman(folder, {
    COFFER_FROM_SOURCE: "1",
    COFFER_INSECURE_CAS_DIR: `${folder}/node-cas`,
  })
  engine.load(`oci:${folder}/protected:1`, image)
}

void describe("an enclave", { skip: lacks() }, () => {
  before(prepare)
  after(() => {
    if (lacksPodman() === false) engine.close()
    rmSync(folder, { recursive: true, force: true })
  })

  test("coffer run: the service's own output and status; what the manifest says and nothing else", () => {
    const { status, stdout, stderr } = run(sealed, "--", "--port=80")
    assert.equal(status, 7, stderr)
    assert.match(stdout, /written upper args \['--port=80'\] stdin ''/)
    assert.match(stdout, /count 1 env C.UTF-8 Europe\/Berlin/)
    assert.match(stderr, /^coffer: e2e-\d+, MrEnclave [0-9a-f]{64}, platform insecure-sim/)
    assertNothingLeft(leftovers)
  })

  test("a second start finds its volume, and a clean upper layer", () => {
    assert.match(run(sealed).stdout, /count 2/)
  })

  test("an argument that is not allowed, and a volume that is not known: 125", () => {
    const argument = run(sealed, "--", "--evil")
    assert.equal(argument.status, 125)
    assert.match(argument.stderr, /process.args: wanted arguments .* found "--evil"/)
    const volume = run(sealed, "--volume", "other=/tmp")
    assert.equal(volume.status, 125)
    assert.match(volume.stderr, /--volume other: wanted a volume of the measured manifest \(data\)/)
  })

  test("an emptied volume is not a new one", () => {
    const kept = join(folder, "kept")
    spawnSync("mv", [join(folder, "volume"), kept])
    mkdirSync(join(folder, "volume"))
    const { status, stdout, stderr } = run(sealed)
    assert.equal(status, 125)
    assert.equal(stdout, "")
    assert.match(stderr, /wanted the volume that CAS/)
    rmSync(join(folder, "volume"), { recursive: true })
    spawnSync("mv", [kept, join(folder, "volume")])
    assert.match(run(sealed).stdout, /count 3/)
  })

  test("a mount that the kernel refuses: its words, and nothing is left", refusedMount)

  test("one changed byte, in the manifest or in a file: refused", () => {
    const changed = join(folder, "changed")
    for (const [offset, message] of [
      [0x3000 + 0x100, /coffer: (manifest|sealed binary|binfs)/],
      [0x1000 + 5, /coffer: sealed binary: stub/],
    ] as const) {
      spawnSync("cp", ["--reflink=auto", sealed, changed])
      const fd = openSync(changed, "r+")
      const byte = Buffer.alloc(1)
      readSync(fd, byte, 0, 1, offset)
      writeSync(fd, Buffer.of((byte[0] ?? 0) ^ 1), 0, 1, offset)
      closeSync(fd)
      const { status, stdout, stderr } = run(changed)
      assert.deepEqual([status, stdout], [125, ""], stderr)
      assert.match(stderr, message)
    }
    assertNothingLeft(leftovers)
  })

  test("podman: status, volume, exec, stop", { skip: lacksPodman() }, underPodman)

  test(
    "shield, monitor or conmon killed: the container ends, and nothing is left",
    {
      skip: lacksPodman(),
    },
    eachKilled,
  )
})

function underPodman(): void {
  mkdirSync(join(folder, "podman-volume"), { recursive: true })
  const name = "coffer-e2e"
  const options = ["--name", name, "-v", `${folder}/podman-volume:/data`]
  const first = engine.call("run", "--rm", ...options, image)
  assert.equal(first.status, 7, first.stderr)
  assert.match(first.stdout, /count 1/)
  const env = engine.call("run", "--rm", ...options, "-e", "LD_PRELOAD=/x", image)
  assert.match(env.stderr, /process.env: wanted variables .* found LD_PRELOAD/)
  const mount = engine.call("run", "--rm", ...options, "-v", `${folder}:/usr/bin`, image)
  assert.match(mount.stderr, /mounts: wanted mounts of volumes and host files/)
  const entry = engine.call("run", "--rm", ...options, "--entrypoint", "/bin/sh", image)
  assert.match(entry.stderr, /process.args\[0\]: wanted \/coffer\/service/)
  try {
    assert.equal(engine.call("run", "-d", ...options, image, "--wait").status, 0)
    const denied = engine.call("exec", name, "/bin/sh", "-c", "id")
    assert.notEqual(denied.status, 0)
    assert.match(denied.stderr, /exec: wanted a command that the measured manifest lists/)
    assert.equal(engine.call("exec", name, "/bin/echo", "healthy").stdout, "healthy\n")
    engine.call("stop", "-t", "20", name)
    assert.equal(engine.call("inspect", "-f", "{{.State.ExitCode}}", name).stdout, "42\n")
    assert.match(engine.call("logs", name).stdout, /count 2/)
  } finally {
    engine.remove(name)
    assertNothingLeft(leftovers)
  }
}

/** Processes whose command line has all the words. */
function pidsOf(...words: string[]): number[] {
  const { stdout } = spawnSync("ps", ["-eo", "pid,args"], { encoding: "utf8" })
  return stdout
    .split("\n")
    .filter((line) => words.every((word) => line.includes(word)))
    .map((line) => Number.parseInt(line, 10))
}

/** A zombie that nobody has fetched is not alive. */
function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "latin1"))
  } catch {
    return false
  }
}

async function eachKilled(): Promise<void> {
  for (const victim of ["shield", "monitor", "conmon"] as const) {
    const id = await killed(victim)
    assert.notEqual(spawnSync("runc", ["state", id]).status, 0, `runc still knows ${id}`)
  }
}

async function killed(victim: "shield" | "monitor" | "conmon"): Promise<string> {
  const name = `coffer-e2e-${victim}`
  mkdirSync(join(folder, "podman-volume"), { recursive: true })
  const volume = ["-v", `${folder}/podman-volume:/data`]
  try {
    const { status, stdout, stderr } = engine.call(
      "run",
      "-d",
      "--name",
      name,
      ...volume,
      image,
      "--wait",
    )
    assert.equal(status, 0, stderr)
    const id = stdout.trim()
    const service = Number(engine.call("inspect", "-f", "{{.State.Pid}}", name).stdout)
    const pids = {
      shield: () => pidsOf("src/runtime/main.ts", " shield ", id),
      monitor: () => pidsOf("coffer-monitor", id),
      conmon: () => [Number(engine.call("inspect", "-f", "{{.State.ConmonPid}}", name).stdout)],
    }
    const [pid = 0] = pids[victim]()
    assert.ok(pid > 1, `no ${victim}`)
    process.kill(pid, "SIGKILL")
    // Without conmon the service runs on, and ends by whoever ends it: podman never calls delete then.
    if (victim === "conmon") process.kill(service, "SIGKILL")
    for (let i = 0; i < 200 && pidsOf(id).length > 0; i += 1) await sleep(50)
    assert.ok(!isAlive(service), `the service outlived its ${victim}`)
    assert.deepEqual([...pids.shield(), ...pids.monitor()], [])
    return id
  } finally {
    engine.remove(name)
    assertNothingLeft(leftovers)
  }
}
