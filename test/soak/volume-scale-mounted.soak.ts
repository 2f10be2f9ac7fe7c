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
  readFileSync,
  readSync,
  renameSync,
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

/** Microseconds of each operation on files that the kernel does not know yet. */
async function costs(mount: string, total: number, random: () => number) {
  const count = 1000
  const any = () => Math.floor(random() * total)
  const whole = Buffer.alloc(8192)
  const read = (path: string) => {
    const fd = openSync(path, "r")
    readSync(fd, whole)
    closeSync(fd)
  }
  const next = (i: number) => join(mount, `d0/new-${i}`)
  // Files of 1,000 are each met once; of a million so many at random.
  const order = total <= count ? Array.from({ length: total }, (_, i) => i) : undefined
  const chosen = Array.from({ length: count }, (_, i) => order?.[i] ?? any())
  return {
    stat: await batches(count, (i) => statSync(join(mount, pathOf(chosen[i] ?? 0)))),
    read: await batches(count, (i) => read(join(mount, pathOf(chosen[i] ?? 0)))),
    create: await batches(count, (i) => writeFileSync(next(i), small)),
    overwrite: await batches(count, () => writeFileSync(join(mount, pathOf(any())), small)),
    rename: await batches(count, (i) => renameSync(next(i), `${next(i)}.b`)),
    unlink: await batches(count, (i) => unlinkSync(`${next(i)}.b`)),
  }
}

async function timedStart(daemon: VolumeDaemon): Promise<number> {
  const begin = performance.now()
  await daemon.start()
  return performance.now() - begin
}

/** The median of three rounds, each on a new mount: nothing is in the kernel's caches. */
async function measured(daemon: VolumeDaemon, total: number) {
  const random = seeded(total)
  const rounds: Awaited<ReturnType<typeof costs>>[] = []
  for (let round = 0; round < 3; round += 1) {
    await daemon.stop()
    await daemon.start()
    for (let d = 0; d < total; d += perDirectory) statSync(join(daemon.mount, `d${d}`))
    rounds.push(await costs(daemon.mount, total, random))
  }
  const median = (name: keyof (typeof rounds)[0]) =>
    rounds.map((round) => round[name]).toSorted((a, b) => a - b)[1] ?? 0
  const names = ["stat", "read", "create", "overwrite", "rename", "unlink"] as const
  return names.map((name) => [name, median(name)] as const)
}

async function reference(t: TestContext) {
  const daemon = await VolumeDaemon.create()
  t.after(() => daemon.end())
  await daemon.start()
  await addFiles(daemon.mount, perDirectory)
  return await measured(daemon, perDirectory)
}

test("a million files and 20 GiB in one mounted volume", { skip: cannotServe() }, async (t) => {
  const daemon = await VolumeDaemon.create()
  t.after(() => daemon.end())
  await daemon.start()
  const random = seeded(7)
  const created = await addFiles(daemon.mount, files)
  t.diagnostic(`create and write, each of ${files}: ${created.toFixed(0)} µs`)
  await addMix(daemon.mount, random)
  const filled = daemon.memory()
  t.diagnostic(`memory after filling: ${filled.now} MiB, at most ${filled.peak}`)
  assert.equal(await daemon.stop(), 0, daemon.errors)

  const mount = await timedStart(daemon)
  t.diagnostic(`mount: ${mount.toFixed(0)} ms`)
  await daemon.stop()
  const few = await reference(t)
  await daemon.start()
  const many = await measured(daemon, files)
  for (const [i, [name, cost]] of many.entries()) {
    const before = few[i]?.[1] ?? 0
    t.diagnostic(
      `${name}: ${before.toFixed(0)} µs at 1,000 files, ${cost.toFixed(0)} at ${files}: ${(cost / before).toFixed(2)}`,
    )
  }
  const { now, peak } = daemon.memory()
  t.diagnostic(`memory: ${now} MiB, at most ${peak}`)
  for (const i of [0, files - 1, Math.floor(files / 3)])
    assert.equal(readFileSync(join(daemon.mount, pathOf(i)))[0], 3)
  assert.equal(await daemon.stop(), 0, daemon.errors)
  assert.equal(daemon.errors, "")
  assert.ok(mount < 3000, `mount: ${mount} ms`)
  assert.ok(Math.max(peak, filled.peak) < 400, `memory: ${peak} and ${filled.peak} MiB`)
})
