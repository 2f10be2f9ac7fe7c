import assert from "node:assert/strict"
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { describe, test } from "node:test"
import { CofferError } from "../src/errors.ts"
import { mountAt, ServedMount } from "../src/shield/index.ts"
import { cannotMount } from "./support/memory-mount.ts"

const main = new URL("./support/memory-mount.main.ts", import.meta.url).pathname
const worker = new URL("./support/memory-mount.worker.ts", import.meta.url)
const nodeArguments = ["--disable-warning=ExperimentalWarning", main]

interface Foreground {
  readonly child: ChildProcess
  readonly target: string
  /** What it has written to stderr so far. */
  readonly said: () => string
  readonly exit: Promise<readonly unknown[]>
}

async function withForeground(body: (mounted: Foreground) => Promise<void>): Promise<void> {
  const target = mkdtempSync(join(tmpdir(), "coffer-shield-"))
  const child = spawn(process.execPath, [...nodeArguments, target], {
    stdio: ["ignore", "pipe", "pipe"],
  })
  const exit = once(child, "exit")
  let text = ""
  child.stderr.on("data", (part: Buffer) => (text += part.toString()))
  try {
    const [line] = (await once(createInterface(child.stdout), "line")) as [string]
    assert.equal(line, `ready ${target}`)
    await body({ child, target, said: () => text, exit })
  } finally {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL")
    spawnSync("umount", ["-l", target])
    rmdirSync(target)
  }
}

const mounts = () => readFileSync("/proc/self/mounts", "utf8")

void describe("a mount in the foreground", { skip: cannotMount() }, () => {
  test("SIGTERM unmounts and ends with 0", () =>
    withForeground(async ({ child, target, exit }) => {
      writeFileSync(join(target, "a"), "x")
      assert.match(mounts(), new RegExp(`^memory ${target} fuse.coffer rw,nosuid,nodev`, "m"))
      child.kill("SIGTERM")
      assert.deepEqual(await exit, [0, null])
      assert.ok(!mounts().includes(target))
    }))

  test("umount from outside ends it with 0", () =>
    withForeground(async ({ target, exit }) => {
      execFileSync("umount", [target])
      assert.deepEqual(await exit, [0, null])
    }))

  test("in use: the first signal detaches and says so, the last user ends it", () =>
    withForeground(async ({ child, target, said, exit }) => {
      writeFileSync(join(target, "a"), "still there")
      const fd = openSync(join(target, "a"), "r")
      child.kill("SIGINT")
      while (!said().includes("still in use")) await once(child.stderr ?? child, "data")
      assert.ok(!mounts().includes(target))
      assert.equal(readFileSync(fd, "utf8"), "still there")
      closeSync(fd)
      assert.deepEqual(await exit, [0, null])
    }))

  test("in use: the second signal ends it at once, and users get an error", () =>
    withForeground(async ({ child, target, said, exit }) => {
      writeFileSync(join(target, "a"), "x".repeat(100_000))
      const fd = openSync(join(target, "a"), "r")
      child.kill("SIGINT")
      while (!said().includes("still in use")) await once(child.stderr ?? child, "data")
      child.kill("SIGINT")
      assert.deepEqual(await exit, [0, null])
      assert.throws(() =>
        execFileSync("stat", ["-L", `/proc/${process.pid}/fd/${fd}`], { stdio: "pipe" }),
      )
      closeSync(fd)
    }))

  test("SIGUSR2 tells the metrics", () =>
    withForeground(async ({ child, target, said, exit }) => {
      writeFileSync(join(target, "a"), "12345")
      child.kill("SIGUSR2")
      while (!said().includes("\n")) await once(child.stderr ?? child, "data")
      const { metrics } = JSON.parse(said()) as {
        metrics: { bytesWritten: number; faults: number }
      }
      assert.deepEqual([metrics.bytesWritten, metrics.faults], [5, 0])
      child.kill("SIGTERM")
      await exit
    }))

  test("killed without warning: nobody hangs, and the mount can be taken away", () =>
    withForeground(async ({ child, target, exit }) => {
      child.kill("SIGKILL")
      await exit
      assert.throws(() => statSync(join(target, "a")), { code: "ENOTCONN" })
      execFileSync("umount", [target])
    }))
})

function mountAndUse(target: string): string {
  return `${process.execPath} ${nodeArguments.join(" ")} ${target} & pid=$!
    for i in $(seq 100); do grep -q "${target} fuse" /proc/self/mounts && break; sleep 0.05; done
    echo hello > ${target}/a && cat ${target}/a && stat -c %U:%a ${target}/a; kill $pid; wait $pid; echo exit $?`
}

void describe("without privilege", { skip: cannotMount() }, () => {
  test("in a user namespace a user mounts for itself", () => {
    const target = mkdtempSync(join(tmpdir(), "coffer-userns-"))
    try {
      const { stdout, stderr } = spawnSync("unshare", ["-Urm", "sh", "-c", mountAndUse(target)], {
        encoding: "utf8",
      })
      assert.match(stdout, /^ready .*\nhello\nroot:644\nexit 0\n$/, stderr)
      assert.deepEqual(readdirSync(target), [])
    } finally {
      rmdirSync(target)
    }
  })

  test("no right to mount is a sentence with what to do", () => {
    // Root without CAP_SYS_ADMIN, as in a container.
    const target = mkdtempSync(join(tmpdir(), "coffer-denied-"))
    try {
      const command = `exec ${process.execPath} ${nodeArguments.join(" ")} ${target}`
      const { status, stderr } = spawnSync(
        "setpriv",
        ["--bounding-set=-all", "--inh-caps=-all", "sh", "-c", command],
        {
          encoding: "utf8",
        },
      )
      assert.notEqual(status, 0)
      assert.match(stderr, /wanted the right to mount, found no CAP_SYS_ADMIN/)
      assert.match(stderr, /unshare -Urm/)
    } finally {
      rmdirSync(target)
    }
  })
})

void describe("a served mount", { skip: cannotMount() }, () => {
  test("a target that is not there, or no directory: an error, and the filesystem is closed", async () => {
    const missing = await ServedMount.open({ worker, request: {} })
    await assert.rejects(
      mountAt(missing, "/nonexistent/target", { source: "m" }),
      (error) => error instanceof CofferError && error.code === "missing",
    )
    await missing.ended
    const file = await ServedMount.open({ worker, request: {} })
    await assert.rejects(
      mountAt(file, "/etc/hostname", { source: "m" }),
      (error) => error instanceof CofferError && error.code === "usage",
    )
    await file.ended
  })

  test("a builder that fails is the error of open, and nothing is mounted", async () => {
    const broken = new URL("./support/broken-mount.worker.ts", import.meta.url)
    await assert.rejects(ServedMount.open({ worker: broken, request: {} }), (error) => {
      return (
        error instanceof CofferError &&
        error.code === "integrity" &&
        error.hint === "use the right key"
      )
    })
  })
})
