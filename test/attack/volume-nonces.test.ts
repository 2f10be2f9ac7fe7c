import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { toHex } from "../../src/bytes/index.ts"
import { decodeVolumeHeader, encodeVolumeHeader } from "../../src/volume/store/format.ts"
import { RunBuffer, SegmentWriter } from "../../src/volume/store/segment-writer.ts"
import { afterCut, type Files, RecordingDisk, seeded } from "../crash/recording-disk.ts"
import { create, key, MemoryAnchor, reopen, session, type Tiny } from "../crash/workload.ts"

// A segment has a key of its own, which its salt makes: so no (key, nonce) pair may be seen twice but for the very same frame.
const pairs = new Map<string, string>()

function collect(files: Files): number {
  let count = 0
  for (const [name, bytes] of files) {
    if (!name.startsWith("segments/")) continue
    let at = 88
    while (at + 36 <= bytes.length) {
      const size = bytes.readUInt32LE(at)
      const end = at + 36 + size
      if (bytes.readUInt32LE(at + 4) === 0 || end > bytes.length) break
      const pair = `${name} ${toHex(bytes.subarray(at + 8, at + 20))}`
      const frame = bytes.toString("latin1", at, end)
      assert.equal(pairs.get(pair) ?? frame, frame, `${pair} seals two frames`)
      pairs.set(pair, frame)
      count += 1
      at = end
    }
  }
  return count
}

test("no (key, nonce) pair seals two frames: sessions, crashes, clones", () => {
  const disk = new RecordingDisk()
  const anchor = new MemoryAnchor()
  const tiny = create(disk, "encrypted", anchor)
  session(tiny, 60, seeded(1), () => undefined)
  for (let cut = 3; cut < disk.events.length; cut += 5) {
    // Two machines go on from the same crash, with the same work: everything but the kernel's random bytes repeats.
    for (const clone of [1, 2]) {
      const files = afterCut(disk.events, cut, () => true)
      const copy = new RecordingDisk(files)
      let opened: Tiny
      try {
        opened = reopen(copy)
      } catch {
        continue // before the first commit
      }
      session(opened, clone + 3, seeded(cut), () => undefined)
      opened.store.close()
      assert.ok(collect(copy.files) > 0)
    }
  }
  collect(disk.files)
  assert.ok(pairs.size > 500, `${pairs.size} frames`)
})

test("a process that is resumed twice from one snapshot draws other nonces, although all its own randomness repeats", () => {
  const header = decodeVolumeHeader(encodeVolumeHeader(Buffer.alloc(32, 1), "encrypted"))
  const id = { number: 1, generation: 0, salt: Buffer.alloc(32, 2) }
  const before = pairs.size
  for (let resumed = 0; resumed < 20; resumed += 1) {
    const disk = new RecordingDisk()
    const fd = disk.create("segments/resumed")
    const writer = new SegmentWriter(disk, fd, key, header, id, new RunBuffer())
    for (let i = 0; i < 10; i += 1) {
      // Each resumed process does its own work: the same places, under the same key.
      writer.append(1, Buffer.from(`${resumed} ${i}`.padEnd(8)), 0, 8)
      if (i % 3 === 0) writer.write()
    }
    writer.write()
    collect(disk.files)
  }
  assert.equal(pairs.size, before + 200)
})

function filesIn(directory: string): Map<string, Buffer> {
  const names = readdirSync(join(directory, "segments"))
  return new Map(
    names.map((name) => [`segments/${name}`, readFileSync(join(directory, "segments", name))]),
  )
}

/** Nonces by the place of their frame. */
function noncesIn(files: Files): Map<string, string> {
  const nonces = new Map<string, string>()
  for (const [name, bytes] of files)
    for (let at = 88; at + 36 <= bytes.length && bytes.readUInt32LE(at + 4) !== 0; ) {
      nonces.set(`${name} ${at}`, toHex(bytes.subarray(at + 8, at + 20)))
      at += 36 + bytes.readUInt32LE(at)
    }
  return nonces
}

// A copy made by fork(2) is what a snapshot that is resumed twice is: one memory (the open segment with its key, frames that
// wait, counters, the generators of V8 and OpenSSL), and the same work in both. Salts, which the process draws elsewhere, are
// forced to repeat. So every place of both copies is sealed under one key: only the kernel's bytes, drawn as a run is sealed, differ.
test("a process whose whole memory is copied goes on twice: same keys, same places, no nonce twice", (t) => {
  const directory = mkdtempSync(join(tmpdir(), "coffer-resumed-"))
  t.after(() => rmSync(directory, { recursive: true }))
  const program = join(import.meta.dirname, "../support/resumed-twice.main.ts")
  const options = ["--disable-warning=ExperimentalWarning", "--single-threaded"]
  const ran = spawnSync(process.execPath, [...options, program, directory], { encoding: "utf8" })
  assert.equal(ran.status, 0, ran.stderr)
  const [before, first, second] = ["before", "first", "second"].map((name) =>
    filesIn(join(directory, name)),
  )
  if (before === undefined || first === undefined || second === undefined) return
  assert.deepEqual([...first.keys()], [...second.keys()], "the same salts, so the same keys")
  const old = noncesIn(before)
  const [one, two] = [noncesIn(first), noncesIn(second)]
  let met = 0
  for (const [place, nonce] of one) {
    if (old.has(place)) assert.equal(nonce, two.get(place), "written before the copy was made")
    else if (two.has(place)) {
      assert.notEqual(nonce, two.get(place), `${place}: both copies drew one nonce`)
      met += 1
    }
  }
  assert.ok(met > 100, `both copies sealed only ${met} places`)
  for (const files of [before, first, second]) collect(files)
})
