/** Power cuts under the filesystem: what is found is exactly one of the states that an fsync had made durable. */
import assert from "node:assert/strict"
import { test } from "node:test"
import type { ByteString } from "../../src/bytes/index.ts"
import { dumpTree } from "../../src/tree/index.ts"
import { checkIndex } from "../../src/volume/fs/check.ts"
import { VolumeFileSystem } from "../../src/volume/fs/volume-fs.ts"
import { createStore, exportTree, openStore } from "../../src/volume/index.ts"
import { MemoryFileSystem } from "../suites/memory-fs.ts"
import { randomOf, Twins } from "../volume/model.ts"
import { afterCut, type DiskEvent, RecordingDisk } from "./recording-disk.ts"

const key = new Uint8Array(32).fill(3)
const done = { waiting: true, done: () => undefined }
const settings = { segmentSize: 512 * 1024, readerGraceMs: 0 }
const options = { random: (): [number, number] => [4, 5] }

function dump(fs: VolumeFileSystem): string {
  return [...dumpTree(exportTree(fs, "/" as ByteString))].join("\n")
}

interface Recorded {
  readonly events: readonly DiskEvent[]
  /** Of the filesystem after each fsync; a note in the events says which of them is promised. */
  readonly states: readonly string[]
}

function record(seed: number): Recorded {
  const disk = new RecordingDisk()
  const random = randomOf(seed)
  const made = createStore({ disk, key, protection: "encrypted", settings })
  let fs = new VolumeFileSystem(made.store, made.recovery, options)
  const limits = { names: 12, fileSize: 60_000, writeSize: 40_000 }
  const twins = new Twins(new MemoryFileSystem(), fs, random, limits)
  const states: string[] = [dump(fs)]
  disk.note("0")
  for (let round = 0; round < 14; round += 1) {
    for (let i = random(40); i >= 0; i -= 1) twins.step()
    if (round % 5 === 3) fs.compact(() => undefined)
    // A compaction makes what it finds durable, so what comes now is one state.
    assert.equal(fs.fsync(1, false, done), 0)
    states.push(dump(fs))
    disk.note(String(states.length - 1))
    if (round % 6 !== 5) continue
    twins.forgetSome()
    fs.destroy()
    const { store, recovery } = openStore({ disk, key, settings })
    fs = new VolumeFileSystem(store, recovery, options)
    twins.tested = fs
  }
  return { events: disk.events, states }
}

function checkCut({ events, states }: Recorded, count: number, choose: () => boolean): void {
  const notes = events.slice(0, count).filter(({ kind }) => kind === "note")
  const promised = notes.length - 1
  const disk = new RecordingDisk(afterCut(events, count, choose))
  const { store, recovery } = openStore({ disk, key, settings })
  const fs = new VolumeFileSystem(store, recovery, options)
  assert.deepEqual(checkIndex(fs.core), [], `cut at ${count}`)
  const found = states.indexOf(dump(fs), promised)
  assert.ok(
    found === promised || found === promised + 1,
    `cut at ${count}: state ${found}, promised ${promised}`,
  )
  fs.destroy()
}

for (const seed of [1, 2, 3])
  test(`a cut leaves one of the states that were durable (seed ${seed})`, () => {
    const recorded = record(seed)
    const random = randomOf(seed)
    const first = recorded.events.findIndex(({ kind }) => kind === "note") + 1
    for (let count = first; count <= recorded.events.length; count += 1) {
      checkCut(recorded, count, () => true)
      checkCut(recorded, count, () => false)
      checkCut(recorded, count, () => random(2) === 0)
    }
  })
