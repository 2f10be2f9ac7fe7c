import assert from "node:assert/strict"
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, type TestContext, test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"
import type { MountsCase, MountsResult } from "./support/enclave-mounts.main.ts"
import { cannotMount } from "./support/memory-mount.ts"

const main = new URL("./support/enclave-mounts.main.ts", import.meta.url).pathname
const options = ["--disable-warning=ExperimentalWarning", main]
const patienceMs = 60_000

function newPlace(t: TestContext): string {
  const place = mkdtempSync(join(tmpdir(), "coffer-mounts-"))
  t.after(() => rmSync(place, { recursive: true, maxRetries: 20 }))
  return place
}

/** Mounts below `place` in our own namespace, which is the host's. */
function mountsBelow(place: string): string[] {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").split("\n")
  return lines.filter((line) => line.includes(`${place}/`))
}

/** Waits until no process has a mount below `place`. */
async function gone(place: string): Promise<void> {
  const find = `grep -l " ${place}/" /proc/[0-9]*/mountinfo`
  for (let left = 100; left > 0; left -= 1) {
    const { stdout } = spawnSync("sh", ["-c", find], { encoding: "utf8" })
    if (stdout === "") return
    await sleep(100)
    if (left === 1) assert.fail(`wanted no mount below ${place}, found ${stdout}`)
  }
}

interface Ended {
  readonly result: MountsResult
  readonly signal: NodeJS.Signals | null
  readonly stderr: string
}

const nothing: MountsResult = { stdout: "", seen: [], namespaces: 0, before: [], after: [] }

async function shield(place: string, how: MountsCase, into = 'exec "$@"'): Promise<Ended> {
  const program = [process.execPath, ...options, place, JSON.stringify(how)]
  const child = spawn("sh", ["-c", into, "sh", ...program], {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: patienceMs,
    killSignal: "SIGKILL",
  })
  let [stdout, stderr] = ["", ""]
  child.stdout.on("data", (data: Buffer) => (stdout += data.toString()))
  child.stderr.on("data", (data: Buffer) => (stderr += data.toString()))
  const [, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null]
  const result = stdout === "" ? nothing : (JSON.parse(stdout) as MountsResult)
  return { result, signal, stderr }
}

void describe("the enclave's mounts", { skip: cannotMount() }, () => {
  test("are the container's alone, and end with it", async (t) => {
    const place = newPlace(t)
    const script = `read go; echo text > $1/root/file; cat $1/root/file; ls $1/upper/0/data
      grep -c " $1/" /proc/self/mountinfo; echo hello > $1/data/a; cat $1/data/a`
    const { result, stderr } = await shield(place, { script })
    assert.equal(result.error, undefined, stderr)
    assert.equal(result.stdout, "text\nfile\n4\nhello\n")
    assert.deepEqual([result.seen, result.namespaces], [[], 1])
    assert.deepEqual(result.after, result.before)
    assert.deepEqual(mountsBelow(place), [])
  })

  test("a volume may hold more dirty pages than a stranger's FUSE, and reads ahead", async (t) => {
    const script = `read go; cd /sys/class/bdi/$(mountpoint -d $1/data)
      for i in $(seq 100); do [ $(cat max_ratio) = 40 ] && break; sleep 0.1; done
      cat max_ratio strict_limit read_ahead_kb`
    const { result } = await shield(newPlace(t), { script })
    assert.equal(result.stdout, "40\n0\n256\n")
  })

  test("the container gets no descriptor of ours", async (t) => {
    const script = "read go; cd /proc/$$/fd && echo *"
    const { result } = await shield(newPlace(t), { script })
    // What we have ourselves from whoever started us, our shell's own for the listing among it.
    const plain = spawnSync("sh", ["-c", script], { input: "go\n", encoding: "utf8" })
    assert.equal(result.stdout, plain.stdout)
  })

  test("are made from a working directory that has been deleted", async (t) => {
    const { result, stderr } = await shield(newPlace(t), { deleted: true, script: "echo made" })
    assert.equal(result.stdout, "made\n", result.error ?? stderr)
    assert.deepEqual(result.after, result.before)
  })

  test("are made below our own root, when that is not the namespace's", async (t) => {
    const folder = newPlace(t)
    const [root, place] = [join(folder, "root"), join(folder, "place")]
    for (const path of [root, place]) mkdirSync(path)
    const made = `mount --rbind / ${root} && mount -t tmpfs place ${root}${place}`
    const into = `exec unshare -m sh -c '${made} && exec chroot ${root} "$@"' sh "$@"`
    const { result, stderr } = await shield(place, { script: "echo made" }, into)
    assert.equal(result.stdout, "made\n", result.error ?? stderr)
    assert.deepEqual(result.after, result.before)
  })

  test("all or none: one that fails ends the others", async (t) => {
    const place = newPlace(t)
    const { result } = await shield(place, { noTarget: true })
    assert.match(result.error ?? "", /wanted the enclave's mounts, found: ENOENT.*nowhere/)
    assert.deepEqual([result.seen, result.namespaces], [[], 1])
    assert.deepEqual(result.after, result.before)
  })

  for (const dies of ["root", "data"] as const)
    test(`the thread of ${dies} dies without an answer: an error, and nobody waits for ever`, async (t) => {
      const how = { dies, death: "exit", script: "read go; stat -f $1/data" } as const
      const { result, signal, stderr } = await shield(newPlace(t), how)
      assert.equal(signal, null, "it hangs")
      assert.match(result.error ?? "", /the serving thread ended early/, stderr)
      assert.deepEqual([result.seen, result.namespaces], [[], 1])
    })

  for (const how of [
    { killed: "before" },
    { killed: "meanwhile", dies: "root", death: "silence" },
    { killed: "meanwhile", dies: "data", death: "silence" },
  ] as const)
    test(`a shield that is killed leaves nothing: ${JSON.stringify(how)}`, async (t) => {
      const place = newPlace(t)
      const { signal } = await shield(place, { ...how, script: "read go; stat -f $1/data" })
      assert.equal(signal, "SIGKILL")
      await gone(place)
    })
})
