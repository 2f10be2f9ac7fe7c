import assert from "node:assert/strict"
import { test } from "node:test"
import { RecordingDisk } from "../../../test/crash/recording-disk.ts"
import { key } from "../../../test/crash/workload.ts"
import { CofferError } from "../../errors.ts"
import type { FrameStore, Place } from "../frame-store.ts"
import { createStore, openStoreForReading } from "./open.ts"

const step = 8192
const payloadSize = step + 28
const count = 100

function payloadOf(i: number): Buffer {
  return Buffer.alloc(payloadSize, `payload ${i} `)
}

function appendRow(store: FrameStore): Place[] {
  return Array.from({ length: count }, (_, i) => {
    const place = { segment: 0, offset: 0, size: 0 }
    store.append("data", payloadOf(i), 0, payloadSize, place)
    return place
  })
}

/** The row is longer than what is read at once, so it takes several reads. */
function readRow(store: FrameStore, places: readonly Place[]): Buffer {
  const [first, second] = places
  assert.ok(first !== undefined && second !== undefined && store.readRow !== undefined)
  const target = Buffer.alloc(places.length * step + 100)
  store.readRow(first, second.offset - first.offset, places.length, target, 0, step)
  return target
}

function checkRow(target: Buffer): void {
  for (let i = 0; i < count; i += 1)
    assert.ok(target.subarray(i * step, (i + 1) * step).equals(payloadOf(i).subarray(0, step)))
}

for (const protection of ["encrypted", "authenticated"] as const)
  test(`${protection}: a row of frames, queued, on the disk and damaged`, () => {
    const disk = new RecordingDisk()
    const { store } = createStore({ disk, key, protection })
    const places = appendRow(store)
    checkRow(readRow(store, places))
    store.flush()
    checkRow(readRow(store, places))
    store.commit(Buffer.from("row"), true)
    store.close()
    const name = [...disk.files.keys()].find((file) => file.startsWith("segments/")) ?? ""
    const bytes = Buffer.from(disk.files.get(name) ?? [])
    for (const broken of [0, 1, 57, count - 1]) {
      const place = places[broken]
      assert.ok(place !== undefined)
      const changed = Buffer.from(bytes)
      changed[place.offset + 1000] = (changed[place.offset + 1000] ?? 0) ^ 1
      const reader = openStoreForReading({
        disk: new RecordingDisk(new Map(disk.files).set(name, changed)),
        key,
      })
      assert.throws(
        () => readRow(reader.store, places),
        (error) =>
          error instanceof CofferError &&
          error.code === "integrity" &&
          error.facts["offset"] === place.offset,
      )
      reader.store.close()
    }
  })

test("frames of a row that would overlap are refused", () => {
  const disk = new RecordingDisk()
  const { store } = createStore({ disk, key, protection: "encrypted" })
  const [place] = appendRow(store)
  store.flush()
  const target = Buffer.alloc(4 * step)
  assert.throws(() => store.readRow(place as Place, 100, 2, target, 0, step), TypeError)
  store.close()
})
