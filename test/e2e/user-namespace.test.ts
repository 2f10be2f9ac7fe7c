import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { type ByteString, utf8 } from "../../src/bytes/index.ts"
import { contentOfBytes, type FileNode } from "../../src/tree/index.ts"
import { lacksRun } from "../support/coffer-run.ts"
import { assertNothingLeft } from "../support/nothing-left.ts"
import { lacksPodman, Podman } from "../support/podman.ts"
import { makeTinyService, volumeRegion } from "../support/tiny-service.ts"

const script = `
umask 022
read -r _ outside _ < /proc/self/uid_map
echo "root is $outside"
see() { stat -c '%n %u:%g %a' "$@"; }
see / /etc /srv /srv/mine /srv/stranger /scratch /data
cat /srv/mine
echo upper > /srv/mine && cat /srv/mine
mv /srv /moved && see /moved/mine
echo x > /moved/new && chown 7:8 /moved/new && see /moved/new
(echo x > /moved/stranger) 2>/dev/null || echo 'strangers keep theirs'
chown 5:5 /moved/stranger 2>/dev/null || echo 'and do not change hands'
[ -d /data/sub ] && { see /data/sub /data/sub/file; cat /data/sub/file; }
mkdir -p /data/sub && chown 33:34 /data/sub
echo "by $outside" >> /data/sub/file && chown 35:36 /data/sub/file
chown 70000:0 /data/sub/file 2>/dev/null && see /data/sub/file
echo x > /scratch/file && see /scratch/file
exit 7`

const capable = `
cat /proc/self/status | { while read -r name value; do [ "$name" = CapEff: ] && echo "cat $value"; done; }
/bin/plain /proc/self/status | { while read -r name value; do [ "$name" = CapEff: ] && echo "plain $value"; done; }`

const meta = { mode: 0o644, mtime: { seconds: 1, nanoseconds: 0 }, xattrs: [] }

function owned(uid: number, gid: number, text: string): FileNode {
  return { kind: "file", meta: { ...meta, uid, gid }, content: contentOfBytes(utf8(text)) }
}

/** `cat` with CAP_CHOWN, effective and permitted, and the same without. */
function withCapability(): Record<string, FileNode> {
  const content = contentOfBytes(Uint8Array.from(readFileSync("/bin/cat")))
  const value = Uint8Array.fromHex("0100000201000000000000000000000000000000")
  const xattrs = [{ name: "security.capability" as ByteString, value }]
  const own = { ...meta, uid: 0, gid: 0, mode: 0o755 }
  return {
    "/bin/cat": { kind: "file", meta: { ...own, xattrs }, content },
    "/bin/plain": { kind: "file", meta: own, content },
  }
}

let folder = ""
let engine: Podman
let sealed = ""

function mapped(first: number): string[] {
  return ["uid", "gid"].map((kind) => `--${kind}map=0:${first}:65536`)
}

function run(options: readonly string[], image = "mapped") {
  const volume = ["-v", `${folder}/volume:/data`]
  return engine.call("run", "--rm", ...volume, ...options, `localhost/${image}:1`)
}

/** Of ours: podman keeps a mount for its storage, and others on this machine mount what they like. */
function leftovers(): string[] {
  const { stdout } = spawnSync("ps", ["-eo", "args"], { encoding: "utf8" })
  const processes = stdout.split("\n").filter((line) => line.includes(folder))
  const mounts = readFileSync("/proc/self/mounts", "utf8").split("\n")
  return [
    ...processes.filter((line) => /coffer-monitor|main\.ts/.test(line)),
    ...mounts.filter((line) => line.includes(" /run/coffer/")),
  ]
}

void describe("a container with a user namespace", { skip: lacksRun() || lacksPodman() }, () => {
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "coffer-users-"))
    mkdirSync(join(folder, "volume"))
    engine = new Podman(folder, {
      COFFER_FROM_SOURCE: "1",
      COFFER_INSECURE_CAS_DIR: `${folder}/cas`,
    })
    const scratch = { kind: "scratch", path: "/scratch", exec: false, size: 1 << 20 } as const
    const regions = [volumeRegion("data"), scratch]
    const files = {
      "/srv/mine": owned(11, 12, "measured\n"),
      "/srv/stranger": owned(70_000, 70_001, ""),
    }
    const service = makeTinyService(join(folder, "mapped"), script, { regions }, files)
    sealed = service.sealed
    engine.load(service.image, "localhost/mapped:1")
    const user = { uid: 1000, gid: 1000, groups: [] }
    const second = makeTinyService(join(folder, "capable"), capable, { user }, withCapability())
    engine.load(second.image, "localhost/capable:1")
  })
  after(() => {
    engine.close()
    rmSync(folder, { recursive: true, force: true })
  })

  test(
    "it sees the image's owners, writes to all that it may write to, and finds its volume again",
    seesAndWrites,
  )

  test("the volume opens with no mapping, and with another one: owners are the container's", () => {
    const plain = run([])
    assert.equal(plain.status, 7, plain.stderr)
    assert.match(plain.stdout, /root is 0\n/)
    assert.match(plain.stdout, /\/data\/sub\/file 35:36 644\nby 200000\nby 200000\n/)
    assert.match(plain.stdout, /\n\/data\/sub\/file 70000:0 644\n/)
    const other = run(mapped(400_000))
    assert.match(other.stdout, /\/data\/sub\/file 65534:0 644\nby 200000\nby 200000\nby 0\n/)
    assert.equal(other.status, 7, other.stderr)
  })

  test("file capabilities of the image count in it", () => {
    for (const options of [[], mapped(200_000)]) {
      const { stdout, stderr } = engine.call("run", "--rm", ...options, "localhost/capable:1")
      assert.equal(stdout, "cat 0000000000000001\nplain 0000000000000000\n", stderr)
    }
  })

  test("mappings that leave the service's user out are refused with a sentence", () => {
    const narrow = ["--uidmap=0:200000:1000", "--gidmap=0:200000:65536"]
    const service = engine.call("run", "--rm", ...narrow, "localhost/capable:1")
    assert.match(
      service.stderr,
      /uidMappings: wanted a range with the service's user 1000, found 0 to 999/,
    )
    assertNothingLeft(leftovers)
  })

  test("overlaps, a missing root and somebody else's user namespace are refused by name", () => {
    for (const [change, message] of [
      [add({ containerID: 1, hostID: 9, size: 1 }), /uidMappings: .* overlap inside/],
      [
        (linux: Linux) => (linux.gidMappings = [{ containerID: 1, hostID: 200_001, size: 65_535 }]),
        /gidMappings: wanted a range with the container's 0, found 1:200001:65535/,
      ],
      [add({ containerID: 65_536, hostID: 200_000, size: 1 }), /uidMappings: .* overlap outside/],
      [
        ({ namespaces }: Linux) => ((namespaces.at(-1) ?? { path: "" }).path = "/proc/1/ns/user"),
        /user: wanted a new one, found one to join/,
      ],
    ] as const) {
      const { status, stderr } = createFrom(change)
      assert.equal(status, 1)
      assert.match(stderr, message)
    }
    assertNothingLeft(leftovers)
  })
})

function seesAndWrites(): void {
  const first = run(mapped(200_000))
  assert.equal(first.status, 7, first.stderr)
  assert.deepEqual(first.stdout.split("\n"), [
    "root is 200000",
    "/ 0:0 755",
    "/etc 0:0 755",
    "/srv 0:0 755",
    "/srv/mine 11:12 644",
    "/srv/stranger 65534:65534 644",
    "/scratch 0:0 755",
    "/data 0:0 755",
    "measured",
    "upper",
    "/moved/mine 11:12 644",
    "/moved/new 7:8 644",
    "strangers keep theirs",
    "and do not change hands",
    "/scratch/file 0:0 644",
    "",
  ])
  const again = run(mapped(200_000))
  assert.match(again.stdout, /\/data\/sub 33:34 755\n\/data\/sub\/file 35:36 644\nby 200000\n/)
  assertNothingLeft(leftovers)
}

function add(range: object) {
  return (linux: Linux) => linux.uidMappings.push(range)
}

interface Linux {
  readonly namespaces: { type: string; path?: string }[]
  uidMappings: object[]
  gidMappings: object[]
}

/** `coffer-oci create` of a bundle whose config.json has a user namespace and that change. */
function createFrom(change: (linux: Linux) => unknown) {
  const bundle = mkdtempSync(join(folder, "bundle-"))
  mkdirSync(join(bundle, "rootfs/coffer"), { recursive: true })
  linkSync(sealed, join(bundle, "rootfs/coffer/service"))
  spawnSync("runc", ["spec"], { cwd: bundle })
  const path = join(bundle, "config.json")
  const config = JSON.parse(readFileSync(path, "utf8")) as {
    process: { terminal: boolean; args: string[] }
    mounts: object[]
    linux: Linux
  }
  Object.assign(config.process, { terminal: false, args: ["/coffer/service"] })
  const [destination, source] = ["/data", `${folder}/volume`]
  config.mounts.push({ destination, type: "bind", source, options: ["bind"] })
  config.linux.namespaces.push({ type: "user" })
  config.linux.uidMappings = [{ containerID: 0, hostID: 200_000, size: 65_536 }]
  config.linux.gidMappings = [{ containerID: 0, hostID: 200_000, size: 65_536 }]
  change(config.linux)
  writeFileSync(path, JSON.stringify(config))
  const root = new URL("../..", import.meta.url).pathname
  return spawnSync(join(root, "coffer-oci"), ["create", "--bundle", bundle, "coffer-users"], {
    encoding: "utf8",
    env: { ...process.env, COFFER_FROM_SOURCE: "1", COFFER_INSECURE_CAS_DIR: `${folder}/cas` },
  })
}
