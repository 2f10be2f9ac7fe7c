/** Live bytes of segments are exact, through kills and replays; and counts that are wrong are found and lose nothing. */
import assert from "node:assert/strict"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import type { ByteString } from "../../src/bytes/index.ts"
import { CofferError } from "../../src/errors.ts"
import { checkIndex } from "../../src/volume/fs/check.ts"
import { newAttributes } from "../../src/volume/fs/requests.ts"
import { VolumeFileSystem } from "../../src/volume/fs/volume-fs.ts"
import { createStore, NodeDisk, openStore } from "../../src/volume/index.ts"
import { MemoryStore } from "../../src/volume/store/memory-store.ts"
import { RecordingDisk } from "../crash/recording-disk.ts"
import { coffer } from "../support/cli.ts"
import { type Random, randomOf } from "./model.ts"

const key = new Uint8Array(32).fill(9)
const caller = { uid: 0, gid: 0, pid: 1, umask: 0 }
const done = { waiting: true, done: () => undefined }
const out = newAttributes()
const kib = 1024
const random = (): [number, number] => [1, 2]
const source = Buffer.alloc(64 * kib, "coffer")
const sameSize = {
  mode: undefined,
  uid: undefined,
  gid: undefined,
  atime: undefined,
  mtime: undefined,
  ctime: undefined,
  killPriv: false,
}

function create(fs: VolumeFileSystem, name: string): number {
  assert.equal(fs.mknod(1, name as ByteString, 0o100644, 0, caller, out), 0)
  return out.inode
}

function write(fs: VolumeFileSystem, file: number, offset: number, size: number): void {
  assert.equal(fs.write(file, offset, source, 0, size, false), size)
}

/** A volume that can be killed: its next owner finds what was written, synced or not, and replays it. */
interface Machine {
  fs: VolumeFileSystem
  reopen(kill: boolean): void
}

type Options = ConstructorParameters<typeof VolumeFileSystem>[2]

function onMemory(segmentSize: number, options: Options): Machine {
  const store = new MemoryStore({ segmentSize })
  const open = (kept: "all" | "synced") =>
    new VolumeFileSystem(store, store.recovery(kept), options)
  const machine: Machine = {
    fs: open("all"),
    reopen(kill) {
      if (!kill) machine.fs.destroy()
      machine.fs = open(kill ? "synced" : "all")
    },
  }
  return machine
}

function onDisk(segmentSize: number, options: Options): Machine {
  const settings = { segmentSize, readerGraceMs: 0 }
  let disk = new RecordingDisk()
  const { store, recovery } = createStore({ disk, key, protection: "encrypted", settings })
  const machine: Machine = {
    fs: new VolumeFileSystem(store, recovery, options),
    reopen(kill) {
      if (!kill) machine.fs.destroy()
      disk = new RecordingDisk(disk.files)
      const opened = openStore({ disk, key, settings })
      machine.fs = new VolumeFileSystem(opened.store, opened.recovery, options)
    },
  }
  return machine
}

function change({ fs }: Machine, files: readonly number[], choose: Random): void {
  const file = files[choose(files.length)] ?? 0
  const offset = choose(3) === 0 ? 0 : choose(120 * kib)
  const kind = choose(16)
  if (kind < 6) write(fs, file, offset, 1 + choose(40))
  else if (kind < 8) write(fs, file, 0, 1)
  else if (kind < 11) write(fs, file, offset, 1 + choose(50 * kib))
  else if (kind === 11)
    assert.equal(fs.setattr(file, { ...sameSize, size: choose(2) * offset }, out), 0)
  else if (kind === 12) assert.equal(fs.fallocate(file, offset, 1 + choose(9000), 3), 0)
  else if (kind === 13) assert.equal(fs.fsync(file, false, done), 0)
  else if (kind === 14) fs.tick(performance.now() + 60_000 * choose(2))
  else if (choose(6) === 0) fs.core.checkpoint()
  else if (choose(12) === 0) fs.compact(() => undefined)
}

function exercise(machine: Machine, choose: Random): void {
  const files = Array.from({ length: 6 }, (_, i) => create(machine.fs, `f${i}`))
  assert.equal(machine.fs.fsync(1, false, done), 0)
  for (let round = 0; round < 25; round += 1) {
    for (let i = choose(80); i >= 0; i -= 1) change(machine, files, choose)
    const kill = choose(4) > 0
    machine.reopen(kill)
    assert.deepEqual(checkIndex(machine.fs.core), [], `round ${round}, kill ${kill}`)
  }
  machine.reopen(false)
  assert.deepEqual(checkIndex(machine.fs.core), [])
}

for (let seed = 1; seed <= 12; seed += 1)
  for (const [name, make] of Object.entries({ memory: onMemory, disk: onDisk }))
    test(`the table of live bytes is what the index says (${name}, seed ${seed})`, () => {
      const errors: unknown[] = []
      const choose = randomOf(seed)
      const machine = make(kib << (8 + choose(3)), {
        random: () => [seed, 8],
        cacheSize: (seed % 2 === 0 ? 16 : 2000) * 8192,
        report: (error) => errors.push(error),
      })
      exercise(machine, choose)
      assert.deepEqual(errors, [])
    })

interface Wrong {
  readonly store: MemoryStore
  readonly fs: VolumeFileSystem
  readonly file: number
  readonly reports: unknown[]
}

/** A volume whose table says `by` bytes too many of each segment, or too few. */
function miscounted(by: (live: number) => number): Wrong {
  const store = new MemoryStore({ segmentSize: 256 * kib })
  const reports: unknown[] = []
  const before = new VolumeFileSystem(store, store.recovery(), { random })
  const file = create(before, "n")
  for (let i = 0; i < 12; i += 1) write(before, file, i * 64 * kib, 64 * kib)
  write(before, create(before, "beside"), 0, 1)
  before.core.commit(true)
  const { live } = before.core.catalog
  for (const [segment, size] of live.entries()) live.add(segment, by(size))
  before.destroy()
  const fs = new VolumeFileSystem(store, store.recovery(), {
    random,
    report: (error) => reports.push(error),
  })
  assert.equal(checkIndex(fs.core).length, 1, "the counts are wrong")
  return { store, fs, file, reports }
}

function checkMended({ store, fs, reports }: Wrong): void {
  assert.deepEqual(
    reports.map((error) => error instanceof CofferError && error.reason),
    ["live-bytes"],
  )
  assert.deepEqual(checkIndex(fs.core), [])
  fs.destroy()
  const again = new VolumeFileSystem(store, store.recovery(), {})
  assert.deepEqual(checkIndex(again.core), [])
  assert.equal(again.lookup(1, "n" as ByteString, out), 0)
  const found = Buffer.alloc(64 * kib)
  for (let offset = 0; offset < out.size; offset += found.length) {
    assert.equal(again.read(out.inode, offset, found.length, found, 0), found.length)
    assert.ok(found.equals(source), `bytes at ${offset}`)
  }
}

// Volumes of an unreleased coffer say 32 bytes too few for each extent.
test("a count that falls below zero is mended by the next checkpoint, and loses nothing", () => {
  const wrong = miscounted(() => -32)
  const { fs, file } = wrong
  for (let i = 0; i < 12; i += 1) write(fs, file, i * 64 * kib, 64 * kib)
  assert.equal(fs.fsync(file, false, done), 0)
  fs.core.checkpoint()
  assert.equal(fs.core.failure, undefined)
  checkMended(wrong)
})

for (const [name, by] of Object.entries({
  few: (live: number) => -(live >> 1),
  many: () => 5000,
}))
  test(`compaction counts anew before it gives anything back (too ${name})`, () => {
    const wrong = miscounted(by)
    wrong.fs.compact(() => undefined)
    assert.equal(wrong.fs.core.failure, undefined)
    checkMended(wrong)
  })

test("when the index cannot be counted, nothing is given back and what changed is durable", () => {
  const { store, fs, file, reports } = miscounted(() => -32)
  for (let i = 0; i < 12; i += 1) write(fs, file, i * 64 * kib, 64 * kib)
  write(fs, file, 12 * 64 * kib, 7)
  fs.core.data.settle(true)
  const segments = store.segments().length
  fs.core.catalog.tree.seek = () => {
    throw new CofferError("integrity", "a damaged page")
  }
  assert.throws(() => fs.core.checkpoint(), { message: "a damaged page" })
  assert.deepEqual(reports, [fs.core.failure])
  assert.ok(store.segments().length >= segments)
  const again = new VolumeFileSystem(store, store.recovery("synced"), {})
  assert.equal(again.lookup(1, "n" as ByteString, out), 0)
  assert.equal(out.size, 12 * 64 * kib + 7)
  assert.equal(again.core.catalog.live.fault === undefined, false)
  again.core.checkpoint()
  assert.deepEqual(checkIndex(again.core), [])
})

test("verify says that counts are wrong, with exit code 1; compact mends them", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "coffer-live-"))
  t.after(() => rmSync(folder, { recursive: true }))
  const [directory, keyFile] = [join(folder, "volume"), join(folder, "key")]
  writeFileSync(keyFile, key)
  const made = createStore({ disk: new NodeDisk(directory), key, protection: "encrypted" })
  const fs = new VolumeFileSystem(made.store, made.recovery, { random })
  write(fs, create(fs, "n"), 0, 60 * kib)
  fs.core.commit(true)
  for (const [segment] of fs.core.catalog.live.entries()) fs.core.catalog.live.add(segment, 5000)
  fs.destroy()
  const verify = () => coffer("volume", "verify", directory, "--key-file", keyFile)
  const wrong = await verify()
  assert.equal(wrong.code, 1, wrong.err)
  assert.match(wrong.err, /segment \d+: wanted \d+ live bytes, found a count of \d+/)
  assert.match(wrong.err, /coffer volume compact/)
  assert.equal((await coffer("volume", "compact", directory, "--key-file", keyFile)).code, 0)
  assert.equal((await verify()).code, 0)
})
