import assert from "node:assert/strict"
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { release, tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"
import { utf8 } from "../../src/bytes/index.ts"
import { contentOfBytes, type FileNode } from "../../src/tree/index.ts"
import { layoutOf } from "../support/image.ts"
import { assertNothingLeft } from "../support/nothing-left.ts"
import { lacksOrdinaryUser, OrdinaryUser } from "../support/ordinary-user.ts"
import { lacksPodman } from "../support/podman.ts"
import { makeTinyService, tinyRoot, volumeRegion } from "../support/tiny-service.ts"

const root = new URL("../..", import.meta.url).pathname
const coffer = join(root, "coffer")

const script = `
umask 022
see() { stat -c '%n %u:%g %a' "$@"; }
id -u
see / /srv /srv/mine /etc/stranger /scratch /data
cat /srv/mine
echo upper > /srv/mine && mv /srv /moved && mkdir /srv && see /moved/mine && ls /srv
echo x > /scratch/file && see /scratch/file
[ -f /data/file ] && { see /data/file; cat /data/file; }
while read -r id parent device from at how rest; do
  case "$at $how" in
    "/sys/fs/cgroup rw"*) ;; # runc's own, in memory, where control groups are those of version 1
    "/sys"*" rw"*) echo "$at can be written" ;;
  esac
done < /proc/self/mountinfo
echo more >> /data/file && chown 33:34 /data/file
exit 7`

function owned(uid: number, text: string): FileNode {
  const meta = { mode: 0o644, uid, gid: uid, mtime: { seconds: 1, nanoseconds: 0 }, xattrs: [] }
  return { kind: "file", meta, content: contentOfBytes(utf8(text)) }
}

function lacks(): string | false {
  const [major = 0, minor = 0] = release().split(".").map(Number)
  if (major < 6 || (major === 6 && minor < 6)) return "an ordinary user's container needs Linux 6.6"
  return lacksOrdinaryUser()
}

const shown = [
  "0",
  "/ 0:0 755",
  "/srv 0:0 755",
  "/srv/mine 11:11 644",
  "/etc/stranger 65534:65534 644",
  "/scratch 0:0 755",
  "/data 0:0 755",
  "measured",
  "/moved/mine 11:11 644",
  "/scratch/file 0:0 644",
]

let folder = ""
let user: OrdinaryUser
let sealed = ""
let image = ""

function podman(verb: string, ...args: string[]) {
  const runtime = join(folder, "coffer-oci")
  return user.run("podman", "--cgroup-manager=cgroupfs", `--runtime=${runtime}`, verb, ...args)
}

function runUnderPodman(...args: string[]) {
  const volume = ["-v", `${user.home}/volume:/data`]
  const limits = ["--network=none", "--ulimit=nofile=1000:1000", "--ulimit=nproc=1000:1000"]
  return podman("run", "--rm", ...limits, ...volume, ...args, "localhost/tiny:1")
}

function runAlone(env: Record<string, string> = {}, binary = sealed) {
  return user.runWith(env, coffer, "run", binary, "--volume", `data=${user.home}/volume`)
}

/** Shields, monitors and folders of containers. */
function leftovers(): string[] {
  const processes = user.processes().filter((line) => /coffer-monitor|main\.ts|runc/.test(line))
  const base = join(user.runtime, "coffer")
  const roots = existsSync(base) ? readdirSync(base) : []
  const places = roots
    .filter((name) => /^[0-9a-f]{16}$/.test(name))
    .flatMap((name) => readdirSync(join(base, name)))
  const mounts = readFileSync("/proc/self/mounts", "utf8").split("\n")
  return [...processes, ...places, ...mounts.filter((line) => line.includes(folder))]
}

function prepare(): void {
  folder = mkdtempSync(join(tmpdir(), "coffer-rootless-"))
  chmodSync(folder, 0o755)
  const scratch = { kind: "scratch", path: "/scratch", exec: false, size: 1 << 20 } as const
  const regions = [volumeRegion("data"), scratch]
  const files = { "/srv/mine": owned(11, "measured\n"), "/etc/stranger": owned(70_000, "") }
  ;({ sealed, image } = makeTinyService(join(folder, "tiny"), script, { regions }, files))
  user = new OrdinaryUser(folder)
  user.makeFolder(join(user.home, "volume"))
  // podman gives its runtime hardly any environment.
  writeFileSync(
    join(folder, "coffer-oci"),
    `#!/bin/sh\nCOFFER_FROM_SOURCE=1 exec ${root}coffer-oci "$@"\n`,
  )
  chmodSync(join(folder, "coffer-oci"), 0o755)
}

void describe("an ordinary user", { skip: lacks() }, () => {
  before(prepare)
  after(() => {
    // Ends the process that keeps podman's user namespace.
    if (lacksPodman() === false) podman("system", "migrate")
    user.close()
    rmSync(folder, { recursive: true, force: true })
  })

  test("coffer run: owners, writes, a volume that a restart finds, and whom to trust", () => {
    const first = runAlone()
    assert.equal(first.status, 7, first.stderr)
    assert.equal(first.stdout, `${shown.join("\n")}\n`)
    assert.match(first.stderr, /platform insecure-sim\ncoffer: engine: trusted, an ordinary user's/)
    const second = runAlone()
    assert.equal(second.stdout, `${shown.join("\n")}\n/data/file 33:34 644\nmore\n`, second.stderr)
    assertNothingLeft(leftovers)
  })

  test("podman: the same volume, of the same CAS", { skip: lacksPodman() }, () => {
    const storage = "containers-storage:localhost/tiny:1"
    const copied = user.run("skopeo", "copy", "-q", image, storage)
    assert.equal(copied.status, 0, copied.stderr)
    const third = runUnderPodman()
    assert.equal(third.status, 7, third.stderr)
    assert.ok(third.stdout.endsWith("/data/file 33:34 644\nmore\nmore\n"), third.stdout)
    // The name of an image in this user's storage.
    assert.match(runAlone({}, "localhost/tiny:1").stdout, /(more\n){3}$/)
    assertNothingLeft(leftovers)
  })

  test(
    "podman: exec of what is listed, and the service ends with its shield",
    { skip: lacksPodman() },
    shieldKilled,
  )

  test("podman: a user namespace within is refused by name", { skip: lacksPodman() }, () => {
    const { status, stderr } = runUnderPodman("--userns=keep-id")
    assert.notEqual(status, 7)
    assert.match(stderr, /linux.namespaces: user: wanted none within an ordinary user's/)
    assertNothingLeft(leftovers)
  })

  test("without subordinate ids only root of the image is somebody, and it is said", () => {
    const withdrawn = user.withdrawIds()
    try {
      const { stdout, stderr } = runAlone()
      assert.match(stderr, /^coffer: no subordinate ids \(.+\): of the image's users only root/)
      assert.match(stdout, /\/srv\/mine 65534:65534 644\n/)
    } finally {
      withdrawn.giveBack()
    }
  })

  test("protect --trace runs the service as run does", () => {
    const config = { Cmd: ["/bin/sh", "-c", "cat /etc/motd"], Env: ["PATH=/bin"] }
    const source = layoutOf(tinyRoot({ regions: [] }), join(folder, "source"), config)
    const traced = user.run(coffer, "protect", source, "--trace")
    assert.equal(traced.status, 0, traced.stderr)
    assert.match(traced.stderr, /\bused\b/)
    assert.match(traced.stderr, /\/etc\/motd/)
  })

  test("no folder for the session, one that others can write, a machine's configuration: sentences", () => {
    const none = runAlone({ XDG_RUNTIME_DIR: "" })
    assert.equal(none.status, 125)
    assert.match(none.stderr, /XDG_RUNTIME_DIR: wanted a folder of yours .*, found none/)
    const open = join(user.home, "open")
    user.makeFolder(open)
    chmodSync(open, 0o777)
    assert.match(runAlone({ XDG_RUNTIME_DIR: open }).stderr, /found .*\/open of user \d+, mode 777/)
    const config = join(folder, "node.yaml")
    writeFileSync(config, "version: 1\nplatform: { type: insecure-sim }\n")
    const configured = user.run(coffer, "run", "--node-config", config, sealed)
    assert.match(configured.stderr, /wanted no configuration of the machine's for an ordinary user/)
  })
})

/** Neither control group nor root: the monitor must find the service without. */
async function shieldKilled(): Promise<void> {
  const exec = [["/bin/id", "-u"]]
  const made = makeTinyService(join(folder, "waits"), "exec sleep 100", { name: "waits", exec })
  user.run("skopeo", "copy", "-q", made.image, "containers-storage:localhost/waits:1")
  const limits = ["--network=none", "--ulimit=nofile=1000:1000", "--ulimit=nproc=1000:1000"]
  const started = podman("run", "-d", "--name=waits", ...limits, "localhost/waits:1")
  try {
    assert.equal(started.status, 0, started.stderr)
    assert.equal(podman("exec", "waits", "/bin/id", "-u").stdout, "0\n")
    assert.match(podman("exec", "waits", "/bin/id").stderr, /wanted a command that the measured/)
    const listed = user.run(coffer, "ps", "--json").stdout
    const [{ pid: shield } = { pid: 0 }] = JSON.parse(listed) as { pid: number }[]
    const service = podman("inspect", "-f", "{{.State.Pid}}", "waits").stdout.trim()
    assert.ok(shield > 1 && Number(service) > 1 && existsSync(`/proc/${service}`))
    process.kill(shield, "SIGKILL")
    for (let i = 0; i < 100 && existsSync(`/proc/${service}`); i += 1) await sleep(50)
    assert.ok(!existsSync(`/proc/${service}`), "the service outlived its shield")
  } finally {
    podman("rm", "-f", "-t", "1", "waits")
  }
  assertNothingLeft(leftovers)
}
