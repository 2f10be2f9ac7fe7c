/** The volume's filesystem at its size: 1,000,000 files, and ten million extents in one file. */
import assert from "node:assert/strict"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type TestContext, test } from "node:test"
import type { ByteString } from "../../src/bytes/index.ts"
import { newAttributes } from "../../src/volume/fs/requests.ts"
import { createStore, NodeDisk, openVolume, type VolumeFileSystem } from "../../src/volume/index.ts"

const megabyte = 1024 * 1024
const caller = { uid: 0, gid: 0, pid: 1, umask: 0 }
const done = { waiting: true, done: () => undefined }
const out = newAttributes()
const key = new Uint8Array(32).fill(7)

function rss(): number {
  return Math.round(process.memoryUsage.rss() / megabyte)
}

function newVolume(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "coffer-scale-"))
  t.after(() => rmSync(directory, { recursive: true }))
  const volume = join(directory, "volume")
  createStore({ disk: new NodeDisk(volume), key, protection: "encrypted" }).store.close()
  return volume
}

function open(directory: string): VolumeFileSystem {
  return openVolume({ directory, key }, (error) => {
    throw error
  })
}

/** Microseconds of each. */
function perOperation(count: number, operation: (i: number) => number): number {
  const begin = performance.now()
  for (let i = 0; i < count; i += 1) {
    const result = operation(i)
    if (result < 0) throw new Error(`errno ${result}`)
  }
  return ((performance.now() - begin) * 1000) / count
}

const block = Buffer.alloc(4096, 3)

function fileName(i: number): ByteString {
  return `file-${i}.txt` as ByteString
}

function addFiles(fs: VolumeFileSystem, from: number, count: number): number {
  let directory = 1
  const cost = perOperation(count, (n) => {
    const i = from + n
    if (i % 1000 === 0 || directory === 1) {
      fs.mkdir(1, `d${i}` as ByteString, 0o755, caller, out)
      directory = out.inode
    }
    fs.mknod(directory, fileName(i), 0o100644, 0, caller, out)
    if (i % 50 === 0) fs.tick(performance.now())
    return fs.write(out.inode, 0, block, 0, i % 10 === 0 ? 4096 : 700, false)
  })
  fs.fsync(1, false, done)
  return cost
}

function lookUps(fs: VolumeFileSystem, total: number, count: number): number {
  return perOperation(count, (n) => {
    const i = Math.floor(((n * 7919) % count) * (total / count))
    const directory = i - (i % 1000)
    fs.lookup(1, `d${directory}` as ByteString, out)
    return fs.lookup(out.inode, fileName(i), out)
  })
}

test("a million files", (t) => {
  const directory = newVolume(t)
  let fs = open(directory)
  const first = addFiles(fs, 0, 1000)
  const firstAgain = addFiles(fs, 1000, 9000)
  const fewLookUps = lookUps(fs, 10_000, 10_000)
  addFiles(fs, 10_000, 890_000)
  const last = addFiles(fs, 900_000, 100_000)
  const manyLookUps = lookUps(fs, 1_000_000, 10_000)
  t.diagnostic(
    `create and write: ${first.toFixed(1)} µs, ${firstAgain.toFixed(1)} µs, at 1,000,000 ${last.toFixed(1)} µs`,
  )
  t.diagnostic(
    `look-ups: ${fewLookUps.toFixed(1)} µs, at 1,000,000 over all of them ${manyLookUps.toFixed(1)} µs`,
  )
  t.diagnostic(`RSS ${rss()} MiB; index pages read ${fs.core.catalog.tree.cache.loads}`)
  assert.ok(rss() < 400, `RSS ${rss()} MiB`)
  fs.destroy()
  const begin = performance.now()
  fs = open(directory)
  const opened = performance.now() - begin
  t.diagnostic(`open: ${opened.toFixed(0)} ms`)
  assert.ok(opened < 3000)
  assert.equal(fs.core.inodeCount, 1_000_000 + 1001)
  t.diagnostic(`look-ups cold: ${lookUps(fs, 1_000_000, 10_000).toFixed(1)} µs`)
  fs.destroy()
})

test("ten million extents in one file", (t) => {
  const directory = newVolume(t)
  const fs = open(directory)
  fs.mknod(1, "sparse" as ByteString, 0o100644, 0, caller, out)
  const file = out.inode
  const total = 10_000_000
  const write = (i: number): number => {
    if (i % 100 === 0) fs.tick(performance.now())
    return fs.write(file, i * 8192, block, 0, 16, false)
  }
  const cost = perOperation(total, write)
  fs.fsync(1, false, done)
  t.diagnostic(`write: ${cost.toFixed(1)} µs; RSS ${rss()} MiB`)
  const random = perOperation(20_000, (n) =>
    fs.read(file, ((n * 104_729) % total) * 8192, 16, Buffer.alloc(16), 0),
  )
  t.diagnostic(`random read: ${random.toFixed(1)} µs`)
  assert.ok(rss() < 400, `RSS ${rss()} MiB`)
  fs.destroy()
  const begin = performance.now()
  const again = open(directory)
  t.diagnostic(`open: ${(performance.now() - begin).toFixed(0)} ms`)
  again.destroy()
})
