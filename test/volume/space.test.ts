import assert from "node:assert/strict"
import { test } from "node:test"
import type { ByteString } from "../../src/bytes/index.ts"
import { checkIndex } from "../../src/volume/fs/check.ts"
import { newAttributes } from "../../src/volume/fs/requests.ts"
import { VolumeFileSystem } from "../../src/volume/fs/volume-fs.ts"
import { MemoryStore } from "../../src/volume/store/memory-store.ts"
import { randomOf } from "./model.ts"

const megabyte = 1024 * 1024
const caller = { uid: 0, gid: 0, pid: 1, umask: 0 }
const done = { waiting: true, done: () => undefined }
const out = newAttributes()

function open(store: MemoryStore, kept: "all" | "synced" = "all"): VolumeFileSystem {
  return new VolumeFileSystem(store, store.recovery(kept), { random: () => [1, 2] })
}

function create(fs: VolumeFileSystem, name: string): number {
  assert.equal(fs.mknod(1, name as ByteString, 0o100644, 0, caller, out), 0)
  return out.inode
}

function sizeOf(store: MemoryStore): number {
  return store.segments().reduce((sum, { size }) => sum + size, 0)
}

function fill(buffer: Buffer, mark: number): void {
  for (let i = 0; i < buffer.length; i += 4) buffer.writeUInt32LE((mark + i) >>> 0, i)
}

test("space stays below twice the live data and 64 MiB, and nothing is lost", () => {
  const store = new MemoryStore({ segmentSize: 4 * megabyte })
  const fs = open(store)
  const random = randomOf(5)
  const blocks = 8192
  const marks = new Uint32Array(blocks)
  const file = create(fs, "file")
  const block = Buffer.alloc(4096)
  let now = 0
  let most = 0
  for (let i = 0; i < 60_000; i += 1) {
    const at = random(blocks)
    marks[at] = i + 1
    fill(block, i + 1)
    assert.equal(fs.write(file, at * 4096, block, 0, 4096, false), 4096)
    if (i % 20 === 0) fs.tick((now += 10))
    most = Math.max(most, sizeOf(store) - 2 * fs.core.catalog.live.total)
  }
  assert.ok(most < 64 * megabyte, `${most} bytes more than twice the live ones`)
  const check = (volume: VolumeFileSystem) => {
    const found = Buffer.alloc(4096)
    for (const [at, mark] of marks.entries()) {
      if (mark === 0) continue
      assert.equal(volume.read(file, at * 4096, 4096, found, 0), 4096)
      fill(block, mark)
      assert.ok(found.equals(block), `block ${at}`)
    }
  }
  check(fs)
  assert.equal(fs.fsync(1, false, done), 0)
  assert.deepEqual(checkIndex(fs.core), [])
  check(open(store, "synced"))
  fs.compact(() => undefined)
  check(fs)
  assert.ok(sizeOf(store) < 1.1 * fs.core.catalog.live.total + 4 * megabyte)
  assert.deepEqual(checkIndex(fs.core), [])
})

test("a full disk: ENOSPC to the writer, reads go on, unlink gives space back", () => {
  const store = new MemoryStore({ segmentSize: 2 * megabyte, capacity: 40 * megabyte })
  const fs = open(store)
  const block = Buffer.alloc(megabyte)
  const files: number[] = []
  for (;;) {
    const file = create(fs, `f${files.length}`)
    files.push(file)
    fill(block, file)
    const written = fs.write(file, 0, block, 0, megabyte, false)
    if (written === megabyte) continue
    assert.equal(written, -28)
    break
  }
  assert.ok(files.length > 30, `${files.length} files`)
  assert.equal(fs.fsync(1, false, done), 0)
  const again = create(fs, "more")
  assert.equal(fs.write(again, 0, block, 0, 1 << 19, false), -28)
  for (const [i, file] of files.slice(0, -1).entries()) {
    assert.equal(fs.read(file, 0, megabyte, block, 0), megabyte)
    assert.equal(block.readUInt32LE(megabyte - 4), file + megabyte - 4, `file ${i}`)
  }
  for (let i = 0; i < files.length; i += 2) {
    assert.equal(fs.unlink(1, `f${i}` as ByteString), 0)
    fs.forget(files[i] ?? 0)
  }
  const room = create(fs, "room")
  for (let i = 0; i < 8; i += 1)
    assert.equal(fs.write(room, i * megabyte, block, 0, megabyte, false), megabyte, `${i} MiB`)
  assert.equal(fs.fsync(1, false, done), 0)
  assert.deepEqual(checkIndex(fs.core), [])
  const next = open(store, "synced")
  assert.equal(next.read(room, 7 * megabyte, megabyte, block, 0), megabyte)
  assert.deepEqual(checkIndex(next.core), [])
})

test("open files without names outlive a commit, and are reclaimed at the next mount", () => {
  const store = new MemoryStore()
  const fs = open(store)
  const block = Buffer.alloc(100_000, 5)
  const before = fs.core.inodeCount
  for (let i = 0; i < 5; i += 1) {
    const file = create(fs, `f${i}`)
    assert.equal(fs.write(file, 0, block, 0, block.length, false), block.length)
    assert.equal(fs.unlink(1, `f${i}` as ByteString), 0)
    assert.equal(fs.fsync(1, false, done), 0)
    assert.equal(fs.read(file, 0, 10, block, 0), 10)
  }
  const large = create(fs, "large")
  const piece = Buffer.alloc(megabyte, 1)
  for (let i = 0; i < 70; i += 1) fs.write(large, 2 * i * megabyte, piece, 0, megabyte, false)
  assert.equal(fs.unlink(1, "large" as ByteString), 0)
  assert.equal(fs.fsync(1, false, done), 0)
  const next = open(store, "synced")
  assert.equal(next.core.inodeCount, before + 6)
  for (let i = 0; i < 1000 && next.tick(0) === 0; i += 1);
  assert.equal(next.core.inodeCount, before)
  assert.equal(next.fsync(1, false, done), 0)
  assert.deepEqual(checkIndex(next.core), [])
})

test("a look at a volume that was never mounted shows an empty directory", () => {
  const store = new MemoryStore()
  const fs = new VolumeFileSystem(store, store.recovery(), { random: () => [1, 2], readOnly: true })
  assert.equal(fs.lookup(1, "x" as ByteString, out), -2)
  assert.equal(fs.mknod(1, "x" as ByteString, 0o100644, 0, caller, out), -30)
  fs.destroy()
})

test("a reader replays a log that is larger than its cache, and writes nothing", () => {
  const store = new MemoryStore()
  const fs = open(store)
  const names = Array.from({ length: 5000 }, (_, i) => `name-${i}` as ByteString)
  for (const name of names) create(fs, name)
  assert.equal(fs.fsync(1, false, done), 0)
  const append = store.append.bind(store)
  store.append = () => assert.fail("a reader writes")
  const cacheSize = 20 * 8192
  const reader = new VolumeFileSystem(store, store.recovery(), { readOnly: true, cacheSize })
  for (const name of names) assert.equal(reader.lookup(1, name, out), 0)
  assert.deepEqual(checkIndex(reader.core), [])
  reader.destroy()
  store.append = append
})
