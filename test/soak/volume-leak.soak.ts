/**
 * Mixed load for minutes: nothing grows. COFFER_SECONDS: how long (default 720, as dead segments are kept for ten minutes).
 * fsstress and fsx of kdave/xfstests (`ltp/`) come from PATH or COFFER_FSSTRESS and COFFER_FSX; without them a mix of our own runs.
 */
import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { mkdirSync, readdirSync, rmSync, type Stats, statfsSync, statSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"
import { seeded } from "../crash/recording-disk.ts"
import { mixedOperations } from "../support/fs-mix.ts"
import { lacks } from "../support/run.ts"
import { cannotServe, VolumeDaemon } from "../support/volume-daemon.ts"

const seconds = Number(process.env["COFFER_SECONDS"] ?? 720)
const graceMs = 600_000
const megabyte = 1024 * 1024

function tool(variable: string, name: string): string | undefined {
  return process.env[variable] ?? (lacks(name) === false ? name : undefined)
}

async function runs(file: string, ...args: readonly string[]): Promise<void> {
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "pipe"] })
  let text = ""
  const keep = (bytes: Buffer) => {
    text = (text + bytes.toString()).slice(-4000)
  }
  child.stdout.on("data", keep)
  child.stderr.on("data", keep)
  const status = await new Promise((resolve) => {
    child.once("close", resolve)
  })
  assert.equal(status, 0, `${file} ${args.join(" ")}: ${text}`)
}

async function load(mount: string, seed: number): Promise<void> {
  const [fsstress, fsx] = [tool("COFFER_FSSTRESS", "fsstress"), tool("COFFER_FSX", "fsx")]
  const folder = join(mount, `stress-${seed}`)
  mkdirSync(folder)
  const file = join(mount, `fsx-${seed}`)
  const work: Promise<void>[] = []
  const stress = ["-d", folder, "-n", "4000", "-p", "4", "-s", String(seed)]
  // fsx keeps the right content in memory, and checks each read.
  if (fsx !== undefined) work.push(runs(fsx, "-q", "-N", "6000", "-S", String(seed), file))
  if (fsstress !== undefined) work.push(runs(fsstress, ...stress))
  if (work.length < 2) mixedOperations(folder, 20_000, seeded(seed))
  await Promise.all(work)
  for (const name of readdirSync(mount)) rmSync(join(mount, name), { recursive: true })
}

interface Sample {
  readonly memory: number
  readonly descriptors: number
  /** Of the volume: the root alone is 1. */
  readonly inodes: number
  readonly segments: number
  readonly size: number
}

/** A segment may be deleted while we look. */
function segments(daemon: VolumeDaemon): Stats[] {
  const folder = join(daemon.volume, "segments")
  return readdirSync(folder).flatMap(
    (name) => statSync(join(folder, name), { throwIfNoEntry: false }) ?? [],
  )
}

function sample(daemon: VolumeDaemon): Sample {
  const { files, ffree } = statfsSync(daemon.mount)
  const sizes = segments(daemon).map(({ blocks }) => blocks * 512)
  return {
    memory: daemon.memory().now,
    descriptors: readdirSync(`/proc/${daemon.pid}/fd`).length,
    inodes: files - ffree,
    segments: sizes.length,
    size: Math.round(sizes.reduce((sum, size) => sum + size, 0) / megabyte),
  }
}

/** Bytes of segments that have not been written for longer than dead ones are kept. */
function oldSize(daemon: VolumeDaemon): number {
  const limit = Date.now() - graceMs - 60_000
  return segments(daemon).reduce((sum, { mtimeMs, size }) => sum + (mtimeMs < limit ? size : 0), 0)
}

const most = (samples: readonly Sample[], of: keyof Sample) =>
  Math.max(...samples.map((one) => one[of]))

test("mixed load: no leak of memory, inodes, descriptors, segments", {
  skip: cannotServe(),
}, async (t) => {
  const missing = lacks("fsstress", "fsx")
  if (missing !== false && process.env["COFFER_FSSTRESS"] === undefined)
    t.diagnostic(`${missing}: a mix of our own in their place`)
  const daemon = await VolumeDaemon.create()
  t.after(() => daemon.end())
  await daemon.start()
  const end = Date.now() + seconds * 1000
  const samples: Sample[] = []
  for (let round = 1; Date.now() < end; round += 1) {
    await load(daemon.mount, round)
    await sleep(1000)
    samples.push(sample(daemon))
    if (round % 5 === 1) t.diagnostic(`round ${round}: ${JSON.stringify(samples.at(-1))}`)
  }
  t.diagnostic(`round ${samples.length}: ${JSON.stringify(samples.at(-1))}`)
  assert.deepEqual(
    samples.filter(({ inodes }) => inodes !== 1),
    [],
    "a file that is gone is still counted",
  )
  const half = Math.max(2, Math.ceil(samples.length / 2))
  const [early, late] = [samples.slice(0, half), samples.slice(half)]
  // The cache of the index and V8's heap reach their size in the first half.
  assert.ok(most(late, "memory") <= most(early, "memory") * 1.1 + 24, "memory grows")
  assert.ok(most(late, "descriptors") <= most(early, "descriptors") + 8, "descriptors grow")
  t.diagnostic(`segments older than the grace: ${Math.round(oldSize(daemon) / megabyte)} MiB`)
  assert.ok(oldSize(daemon) < 64 * megabyte, "dead segments stay")
  assert.equal(await daemon.stop(), 0)
  assert.equal(daemon.errors, "")
  daemon.checkWhole()
})
