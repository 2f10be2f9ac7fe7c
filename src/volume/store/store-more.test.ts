import assert from "node:assert/strict"
import { test } from "node:test"
import { RecordingDisk } from "../../../test/crash/recording-disk.ts"
import {
  checkContent,
  create,
  key,
  MemoryAnchor,
  reopen,
  settings,
  Tiny,
} from "../../../test/crash/workload.ts"
import { CofferError } from "../../errors.ts"
import { createStore, openStore, openStoreForReading } from "./open.ts"

function textOf(sets: Iterable<Uint8Array>): string[] {
  return [...sets].map((set) => Buffer.from(set).toString())
}

for (const protection of ["encrypted", "authenticated"] as const) {
  test(`${protection}: a set of changes larger than a frame is whole or not there`, () => {
    const disk = new RecordingDisk()
    const segmentSize = 8 * 1024 * 1024
    const { store } = createStore({ disk, key, protection, settings: { segmentSize } })
    const large = Buffer.alloc(3_000_000, "large set, ")
    store.commit(Buffer.from("before"), true)
    const events = disk.events.length
    store.commit(large, true)
    store.commit(Buffer.from("after"), true)
    store.close()
    const whole = openStoreForReading({ disk, key })
    assert.deepEqual(textOf(whole.recovery.records), ["before", large.toString(), "after"])
    whole.store.close()
    // Cut within the set: it is not there, and does not come back with the next one.
    const [name, bytes] = [...disk.files].find(([file]) => file.startsWith("segments/")) ?? []
    assert.ok(name !== undefined && bytes !== undefined && events > 0)
    const cut = new RecordingDisk(new Map(disk.files).set(name, bytes.subarray(0, 1_500_000)))
    const second = openStore({ disk: cut, key, settings: { segmentSize } })
    assert.deepEqual(textOf(second.recovery.records), ["before"])
    second.store.commit(Buffer.from("new"), true)
    second.store.close()
    const third = openStoreForReading({ disk: cut, key })
    assert.deepEqual(textOf(third.recovery.records), ["before", "new"])
    third.store.close()
  })

  test(`${protection}: 20,000 frames in one set, over many segments`, () => {
    const disk = new RecordingDisk()
    const { store } = createStore({
      disk,
      key,
      protection,
      settings: { segmentSize: 1024 * 1024, readerGraceMs: 0 },
    })
    const payload = Buffer.alloc(100, 1)
    const places = Array.from({ length: 20_000 }, (_, i) => {
      payload.writeUInt32LE(i)
      const place = { segment: 0, offset: 0, size: 0 }
      store.append("data", payload, 0, 100, place)
      return place
    })
    store.commit(Buffer.from("set"), true)
    store.close()
    const again = openStore({ disk, key })
    const target = Buffer.alloc(100)
    for (const [i, place] of places.entries()) {
      again.store.read("data", place, target, 0)
      assert.equal(target.readUInt32LE(), i)
    }
    let count = 0
    for (const { segment, sealed } of again.store.segments())
      if (sealed) again.store.frames(segment, (kind) => (count += kind === "data" ? 1 : 0))
    assert.equal(count, 20_000)
    again.store.close()
  })
}

test("a reader without the key verifies an authenticated volume from the anchored tag", () => {
  const disk = new RecordingDisk()
  const anchor = new MemoryAnchor()
  const tiny = create(disk, "authenticated", anchor)
  for (let i = 0; i < 20; i += 1) tiny.put(3000)
  tiny.commit(true)
  tiny.store.close()
  const open = (at: RecordingDisk) =>
    new Tiny(openStoreForReading({ disk: at, key: undefined, anchor }))
  const reader = open(disk)
  checkContent(reader.store, reader.items)
  const [place] = reader.items.values()
  assert.ok(place !== undefined)
  for (const [name, bytes] of disk.files) {
    const changed = Buffer.from(bytes)
    if (name === "header" || changed.length < place.offset + 40) continue
    changed[place.offset + 36] = (changed[place.offset + 36] ?? 0) ^ 1
    const tampered = open(new RecordingDisk(new Map(disk.files).set(name, changed)))
    assert.throws(
      () => checkContent(tampered.store, tampered.items),
      (error) => error instanceof CofferError && error.code === "integrity",
    )
  }
  const encrypted = new RecordingDisk()
  create(encrypted, "encrypted").store.close()
  assert.throws(
    () => openStoreForReading({ disk: encrypted, key: undefined }),
    (error) => error instanceof CofferError && error.code === "config",
  )
})

test("a reader of an older tag reads on, or says that it is superseded", () => {
  const disk = new RecordingDisk()
  const anchor = new MemoryAnchor()
  const tiny = create(disk, "encrypted", anchor)
  for (let i = 0; i < 40; i += 1) tiny.put(4000)
  tiny.commit(true)
  const reader = new Tiny(openStoreForReading({ disk, key, anchor }))
  for (let i = 0; i < 3; i += 1) tiny.compact()
  tiny.checkpoint()
  tiny.store.tick(0)
  assert.throws(
    () => checkContent(reader.store, reader.items),
    (error) => error instanceof CofferError && error.reason === "superseded",
  )
  for (const write of [() => reader.put(4), () => reader.commit(true), () => reader.checkpoint()])
    assert.throws(
      write,
      (error) => error instanceof CofferError && error.facts["errno"] === "EROFS",
    )
  tiny.store.close()
})

test("periodic freshness: the anchor follows in time, and at the end", () => {
  let now = 1_000_000
  const disk = new RecordingDisk()
  const anchor = new MemoryAnchor()
  const freshness = { mode: "periodic", everyMs: 1000, everyCommits: 5 } as const
  const opened = createStore({
    disk,
    key,
    protection: "encrypted",
    anchor,
    settings: { ...settings, freshness, now: () => now },
  })
  const tiny = new Tiny(opened)
  const before = anchor.moves
  tiny.commit(true)
  assert.equal(anchor.moves, before)
  assert.ok(opened.store.tick(0) <= 1000)
  now += 1001
  opened.store.tick(0)
  assert.equal(anchor.moves, before + 1)
  for (let i = 0; i < 5; i += 1) tiny.commit(true)
  assert.equal(anchor.moves, before + 2)
  tiny.commit(true)
  opened.store.close()
  assert.equal(anchor.moves, before + 3)
  assert.equal(reopen(disk, anchor).sets, 7)
})
