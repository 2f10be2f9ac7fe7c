/**
 * One mounted volume at its size: 1,000,000 files and 20 GiB of dense and sparse files. Time to mount, memory of the daemon,
 * and what an operation costs beside a volume with 1,000 files. COFFER_FILES and COFFER_GIB make it smaller.
 */
import assert from "node:assert/strict"
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmdirSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs"
import { join } from "node:path"
import { type TestContext, test } from "node:test"
import { setImmediate as breathe } from "node:timers/promises"
import { seeded } from "../crash/recording-disk.ts"
import { cannotServe, VolumeDaemon } from "../support/volume-daemon.ts"

const files = Number(process.env["COFFER_FILES"] ?? 1_000_000)
const gigabytes = Number(process.env["COFFER_GIB"] ?? 20)
const megabyte = 1024 * 1024
const perDirectory = 1000
const small = Buffer.alloc(4096, 3)

function pathOf(i: number): string {
  return `d${i - (i % perDirectory)}/file-${i}.txt`
}

/** Pipes are read between two batches: the work itself is synchronous. */
async function batches(count: number, work: (i: number) => void): Promise<number> {
  const begin = performance.now()
  for (let i = 0; i < count; i += 1) {
    work(i)
    if (i % 1000 === 0) await breathe()
  }
  return ((performance.now() - begin) * 1000) / count
}

async function addFiles(mount: string, count: number): Promise<number> {
  return await batches(count, (i) => {
    if (i % perDirectory === 0) mkdirSync(join(mount, `d${i}`))
    writeFileSync(join(mount, pathOf(i)), small.subarray(0, i % 10 === 0 ? 4096 : 700))
  })
}

function synced(path: string, flags: string, use: (fd: number) => void): void {
  const fd = openSync(path, flags)
  try {
    use(fd)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** A quarter of the bytes dense, the rest sparse: 4 KiB in each MiB. */
async function addMix(mount: string, random: () => number): Promise<void> {
  const chunk = Buffer.alloc(megabyte)
  const each = Math.floor((gigabytes * 1024) / 20)
  for (let file = 0; file < 20; file += 1) {
    synced(join(mount, `big-${file}`), "w", (fd) => {
      for (let at = 0; at < each; at += 1) {
        chunk.writeDoubleLE(random(), 8 * Math.floor(random() * 1000))
        const dense = file % 4 === 0
        const bytes = dense ? chunk : chunk.subarray(0, 4096)
        writeSync(fd, bytes, 0, bytes.length, at * megabyte + (dense ? 0 : (at % 200) * 4096))
      }
    })
    await breathe()
  }
}

/** Processor time of the daemon so far, in microseconds: it says what an operation costs also on a busy machine. */
function processorTime(daemon: VolumeDaemon): number {
  const tasks = `/proc/${daemon.pid}/task`
  const times = readdirSync(tasks).map((task) =>
    Number(readFileSync(join(tasks, task, "schedstat"), "latin1").split(" ")[0]),
  )
  return times.reduce((sum, time) => sum + time, 0) / 1000
}

interface Cost {
  /** Microseconds of an operation: what the caller waits, and what the daemon works. */
  readonly wall: number
  readonly work: number
}

const operations = ["stat", "read", "create", "overwrite", "rename", "unlink"] as const
type Costs = Record<(typeof operations)[number], Cost>

/** Operations on files that the kernel does not know yet. */
async function costs(daemon: VolumeDaemon, total: number, random: () => number): Promise<Costs> {
  const { mount } = daemon
  const count = 1000
  const any = () => Math.floor(random() * total)
  const whole = Buffer.alloc(8192)
  const read = (path: string) => {
    const fd = openSync(path, "r")
    readSync(fd, whole)
    closeSync(fd)
  }
  const next = (i: number) => join(mount, `d0/new-${i}`)
  // Of few files the second half, each once; of many so many at random.
  const few = total <= 2 * count
  const chosen = Array.from({ length: count }, (_, i) => (few ? count + i : any()))
  const timed = async (work: (i: number) => void): Promise<Cost> => {
    const begin = processorTime(daemon)
    const wall = await batches(count, work)
    return { wall, work: (processorTime(daemon) - begin) / count }
  }
  return {
    stat: await timed((i) => statSync(join(mount, pathOf(chosen[i] ?? 0)))),
    read: await timed((i) => read(join(mount, pathOf(chosen[i] ?? 0)))),
    create: await timed((i) => writeFileSync(next(i), small)),
    overwrite: await timed(() => writeFileSync(join(mount, pathOf(any())), small)),
    rename: await timed((i) => renameSync(next(i), `${next(i)}.b`)),
    unlink: await timed((i) => unlinkSync(`${next(i)}.b`)),
  }
}

async function timedStart(daemon: VolumeDaemon): Promise<number> {
  const begin = performance.now()
  await daemon.start()
  return performance.now() - begin
}

/**
 * V8 compiles what is used often, and the index's cache fills: that is not to be counted. Directories are known then, and of
 * few files the first half.
 */
async function warmUp(mount: string, total: number, random: () => number): Promise<void> {
  for (let d = 0; d < total; d += perDirectory) statSync(join(mount, `d${d}`))
  const few = total <= 2 * perDirectory
  const count = few ? perDirectory : 20_000
  const chosen = (i: number) => (few ? i : Math.floor(random() * total))
  await batches(count, (i) => statSync(join(mount, pathOf(chosen(i)))))

  const folder = join(mount, "warm")
  mkdirSync(folder)
  const path = (i: number) => join(folder, String(i))
  await batches(4000, (i) => writeFileSync(path(i), small))
  await batches(4000, (i) => renameSync(path(i), `${path(i)}.b`))
  await batches(4000, (i) => unlinkSync(`${path(i)}.b`))
  rmdirSync(folder)
}

/** The disk's own cache holds what it has read: a look-up that waits for the disk says nothing about us. */
function readBacking({ volume }: VolumeDaemon): void {
  const folder = join(volume, "segments")
  const chunk = Buffer.alloc(megabyte)
  for (const name of readdirSync(folder)) {
    const fd = openSync(join(folder, name), "r")
    while (readSync(fd, chunk) > 0);
    closeSync(fd)
  }
}

/** The median of three rounds, each on a new mount: nothing is in the kernel's caches of the mount. */
async function measured(daemon: VolumeDaemon, total: number): Promise<Costs> {
  const random = seeded(total)
  const rounds: Costs[] = []
  for (let round = 0; round < 3; round += 1) {
    await daemon.stop()
    readBacking(daemon)
    await daemon.start()
    await warmUp(daemon.mount, total, random)
    rounds.push(await costs(daemon, total, random))
  }
  const median = (of: (one: Costs) => number) => rounds.map(of).toSorted((a, b) => a - b)[1] ?? 0
  const entries = operations.map((name) => [
    name,
    { wall: median((one) => one[name].wall), work: median((one) => one[name].work) },
  ])
  return Object.fromEntries(entries) as Costs
}

async function reference(t: TestContext): Promise<{ few: Costs; mount: number }> {
  const daemon = await VolumeDaemon.create({ bundled: true })
  t.after(() => daemon.end())
  await daemon.start()
  await addFiles(daemon.mount, 2 * perDirectory)
  const few = await measured(daemon, 2 * perDirectory)
  await daemon.stop()
  const mount = await timedStart(daemon)
  await daemon.stop()
  return { few, mount }
}

test("a million files and 20 GiB in one mounted volume", { skip: cannotServe() }, async (t) => {
  const daemon = await VolumeDaemon.create({ bundled: true })
  t.after(() => daemon.end())
  await daemon.start()
  const random = seeded(7)
  const created = await addFiles(daemon.mount, files)
  t.diagnostic(daemon.bundled ? "the bundle" : "the sources, which take 55 MiB more")
  t.diagnostic(`create and write, each of ${files}: ${created.toFixed(0)} µs`)
  await addMix(daemon.mount, random)
  const filled = daemon.memory()
  t.diagnostic(`memory after filling: ${filled.now} MiB, at most ${filled.peak}`)
  assert.equal(await daemon.stop(), 0, daemon.errors)

  const mount = await timedStart(daemon)
  await daemon.stop()
  const { few, mount: least } = await reference(t)
  t.diagnostic(`mount: ${mount.toFixed(0)} ms, with few files ${least.toFixed(0)} ms`)
  await daemon.start()
  const many = await measured(daemon, files)
  for (const name of operations) {
    const [before, now] = [few[name], many[name]]
    const of = (which: keyof Cost) =>
      `${before[which].toFixed(0)} µs at 1,000 files, ${now[which].toFixed(0)} at ${files}: ${(now[which] / before[which]).toFixed(2)}`
    t.diagnostic(`${name}: ${of("wall")}; of the daemon ${of("work")}`)
  }
  const { now, peak } = daemon.memory()
  t.diagnostic(`memory: ${now} MiB, at most ${peak}`)
  for (const i of [0, files - 1, Math.floor(files / 3)])
    assert.equal(readFileSync(join(daemon.mount, pathOf(i)))[0], 3)
  assert.equal(await daemon.stop(), 0, daemon.errors)
  assert.equal(daemon.errors, "")
  // On a busy machine the process alone takes seconds to start.
  assert.ok(mount < 3000 || mount - least < 2000, `mount: ${mount} ms, else ${least} ms`)
  const limit = daemon.bundled ? 400 : 455
  assert.ok(Math.max(peak, filled.peak) < limit, `memory: ${peak} and ${filled.peak} MiB`)
})
