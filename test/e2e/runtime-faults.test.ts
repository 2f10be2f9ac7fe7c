import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, describe, test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"
import { lacksRun, Run } from "../support/coffer-run.ts"
import { assertNothingLeft } from "../support/nothing-left.ts"
import { lacksPodman, Podman } from "../support/podman.ts"
import { RemoteCas } from "../support/remote-cas.ts"
import { makeTinyService, type TinyService, volumeRegion } from "../support/tiny-service.ts"

// Writes numbers and says which are durable. Its argument is how many; it goes on where it ended.
const script = `
cd /$2
if [ $2 = full ]; then
  echo before > kept && sync kept
  dd if=/dev/zero of=big bs=1M count=40 conv=fsync 2>&1
  rm -f big
  sync .
  echo again > new && sync new && echo "after: $(wc -c < kept) bytes kept, written $(cat new)"
  exit 0
fi
i=$(cat n 2>/dev/null || echo 0)
end=$((i + $1))
while [ $i -lt $end ]; do
  i=$((i + 1))
  if echo $i > n.new && sync n.new && mv n.new n && sync n; then echo acked $i; else echo failed $i; fi
  sleep 0.1
done
`

let folder = ""
let service: TinyService
let cas: RemoteCas

function policy(mrEnclave: string): string {
  return `version: 1
name: faults
services:
  writer:
    measurements: ["${mrEnclave}"]
    platforms: [dev]
    volumes: { data: write, loose: write, full: write }
platforms:
  dev: { type: insecure-sim }
volumes:
  data: {}
  full: {}
  loose: { freshness: { age: 1s, count: 1000 } }
access:
  keys: { alice: "${cas.admin}" }
  update: { of: [alice] }
`
}

/** The service with the CAS elsewhere: `count` numbers to the volume `volume`. */
function remote(count: number, volume: "data" | "loose" | "full", ...more: readonly string[]): Run {
  const volumes = ["data", "loose", "full"].flatMap((name) => [
    "--volume",
    `${name}=${folder}/${name}`,
  ])
  const where = ["--cas", cas.url, "--cas-key", cas.key, "--policy", "faults/writer"]
  return new Run(folder, [
    ...volumes,
    ...where,
    ...more,
    service.sealed,
    "--",
    String(count),
    volume,
  ])
}

/** Nothing of it may be there any more, once the container has ended. */
function leftovers(): string[] {
  const { stdout } = spawnSync("ps", ["-eo", "args"], { encoding: "utf8" })
  return stdout
    .split("\n")
    .filter((line) => line.includes("coffer-monitor") && line.includes("faults-"))
}

async function elsewhere(): Promise<void> {
  const first = remote(2, "data")
  assert.equal(await first.status(), 0, first.stderr)
  const second = remote(1, "data")
  assert.equal(await second.status(), 0, second.stderr)
  assert.equal(second.acked, 3)
}

async function strictOutage(): Promise<void> {
  const run = remote(60, "data")
  await run.says(/acked 5\n/)
  await cas.kill()
  await sleep(500)
  const reached = run.acked
  await sleep(1500)
  assert.ok(run.acked <= reached + 1, "fsync returned without its anchor")
  await cas.start()
  await run.says(new RegExp(`acked ${reached + 5}\n`))
  assert.doesNotMatch(run.stdout, /failed/)
  run.child.kill("SIGKILL")
  await run.status()
  const { acked } = run
  const next = remote(1, "data")
  assert.equal(await next.status(), 0, next.stderr)
  assert.ok(next.acked > acked, `${next.acked} after ${acked}`)
}

async function periodicOutage(): Promise<void> {
  const run = remote(60, "loose")
  await run.says(/acked 2\n/)
  await cas.kill()
  const reached = run.acked
  const begin = Date.now()
  await run.says(new RegExp(`acked ${reached + 15}\n`))
  assert.ok(Date.now() - begin < 15_000, "a periodic volume waited for the CAS")
  await cas.start()
  assert.equal(await run.status(), 0, run.stderr)
  const next = remote(1, "loose")
  assert.equal(await next.status(), 0, next.stderr)
  assert.equal(next.acked, 61)
}

async function noCas(): Promise<void> {
  await cas.kill()
  try {
    const begin = Date.now()
    const run = remote(1, "data")
    assert.equal(await run.status(), 125)
    assert.ok(Date.now() - begin < 40_000)
    assert.match(run.stderr, /CAS at https:\/\/127\.0\.0\.1:\d+: .*ECONNREFUSED/)
  } finally {
    await cas.start()
  }
  assertNothingLeft(leftovers)
}

/** A full disk is the service's error, not ours: it is told, and goes on when there is room again. */
async function fullDisk(): Promise<void> {
  const run = remote(1, "full")
  assert.equal(await run.status(), 0, run.stderr)
  assert.match(run.stdout, /No space left on device/)
  assert.match(run.stdout, /after: 7 bytes kept, written again/)
}

/** What the service writes to measured paths is in memory: its bound is below the container's, so it is an error and no kill. */
function memoryLimit(): void {
  const engine = new Podman(folder, { COFFER_FROM_SOURCE: "1" })
  try {
    const fill = "dd if=/dev/zero of=/big bs=1M count=200; rm /big; echo alive $(id -u)"
    const { image } = makeTinyService(join(folder, "memory"), fill)
    engine.load(image, "localhost/memory:1")
    const done = engine.call("run", "--rm", "--memory=64m", "localhost/memory:1")
    assert.equal(done.status, 0, done.stderr)
    assert.match(done.stderr, /No space left on device/)
    assert.equal(done.stdout, "alive 0\n")
  } finally {
    engine.close()
  }
}

void describe("faults around an enclave", { skip: lacksRun() }, () => {
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "coffer-faults-"))
    service = makeTinyService(folder, script, {
      name: "faults",
      args: { allow: ["[0-9]+", "data|loose|full"] },
      regions: ["data", "full", "loose"].map(volumeRegion),
    })
    for (const name of ["data", "loose", "full"]) mkdirSync(join(folder, name))
    const small = ["-t", "tmpfs", "-o", "size=24m", "small", join(folder, "full")]
    assert.equal(spawnSync("mount", small).status, 0)
    cas = new RemoteCas(join(folder, "cas"))
    await cas.start()
    await cas.putPolicy(policy(service.mrEnclave))
  })
  after(async () => {
    await cas.kill()
    spawnSync("umount", ["-l", join(folder, "full")])
    rmSync(folder, { recursive: true, force: true })
  })

  test("a CAS elsewhere: keys and freshness come from it, and the volume is found again", elsewhere)

  test("a CAS with another key than the pinned one is not asked", async () => {
    const run = remote(1, "data", "--cas-key", "ab".repeat(32))
    assert.equal(await run.status(), 125)
    assert.equal(run.stdout, "")
    assert.match(run.stderr, /CAS.*wanted .*abababab/)
  })

  test(
    "a CAS that ends and comes back: strict fsync waits for it, nothing acknowledged is lost",
    strictOutage,
  )

  test("a CAS that is away: a periodic volume goes on, and anchors when it is back", periodicOutage)

  test("no CAS there: 125 within its patience, and the sentence says where", noCas)

  test("a full disk: ENOSPC, and on it goes when there is room", fullDisk)

  test("more written than the memory limit: ENOSPC, no kill", { skip: lacksPodman() }, memoryLimit)
})
