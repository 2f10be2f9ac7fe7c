import assert from "node:assert/strict"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { randomBytes } from "../../crypto/index.ts"
import { CofferError } from "../../errors.ts"
import type { Place } from "../frame-store.ts"
import type { Protection } from "./format.ts"
import { NodeDisk } from "./node-disk.ts"
import { createStore, openStore, openStoreForReading } from "./open.ts"
import { PinFile } from "./pin-file.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-store-"))
after(() => rmSync(folder, { recursive: true }))
let count = 0
const fresh = () => join(folder, `v${++count}`)

const newPlace = (): Place => ({ segment: 0, offset: 0, size: 0 })
const text = (value: string) => Buffer.from(value)

for (const protection of ["encrypted", "authenticated"] as const satisfies readonly Protection[]) {
  test(`${protection}: what was committed is there after a reopen, frames read back at any time`, () => {
    const path = fresh()
    const key = randomBytes(32)
    const pin = PinFile.create(`${path}.pin`)
    const opened = createStore({ disk: new NodeDisk(path), key, protection, anchor: pin })
    const { store } = opened
    assert.equal(opened.recovery.checkpoint, undefined)
    assert.deepEqual([...opened.recovery.records], [])
    const places: Place[] = []
    const payloads: Buffer[] = []
    const target = Buffer.alloc(1024 * 1024 + 3)
    const check = (from: { read: typeof store.read }) => {
      for (const [i, place] of places.entries()) {
        const payload = payloads[i] ?? Buffer.alloc(0)
        from.read("data", place, target, 3)
        assert.ok(target.subarray(3, 3 + place.size).equals(payload))
      }
    }
    for (const size of [0, 1, 100, 4096, 65_536, 1024 * 1024]) {
      const place = newPlace()
      const payload = Buffer.from(randomBytes(size))
      store.append("data", payload, 0, size, place)
      places.push(place)
      payloads.push(payload)
      check(store)
    }
    store.commit(text("one"), false)
    check(store)
    store.checkpoint(text("state"))
    check(store)
    store.commit(text("two"), true)
    store.commit(text("three"), false)
    store.close()
    pin.close()
    const again = PinFile.open(`${path}.pin`, "write")
    const reader = openStoreForReading({ disk: new NodeDisk(path), key, anchor: again })
    check(reader.store)
    assert.equal(Buffer.from(reader.recovery.checkpoint ?? []).toString(), "state")
    assert.deepEqual(
      [...reader.recovery.records].map((set) => Buffer.from(set).toString()),
      ["two", "three"],
    )
    const second = openStore({ disk: new NodeDisk(path), key, anchor: again })
    check(second.store)
    check(reader.store)
    assert.deepEqual(
      [...second.recovery.records].map((set) => Buffer.from(set).toString()),
      ["two", "three"],
    )
    assert.throws(
      () => openStore({ disk: new NodeDisk(path), key, anchor: again }),
      (error) => error instanceof CofferError && error.reason === "in-use",
    )
    second.store.commit(text("four"), true)
    second.store.close()
    reader.store.close()
    const third = openStore({ disk: new NodeDisk(path), key, anchor: again })
    check(third.store)
    assert.deepEqual(
      [...third.recovery.records].map((set) => Buffer.from(set).toString()),
      ["two", "three", "four"],
    )
    third.store.close()
    again.close()
    const unpinned = openStore({ disk: new NodeDisk(path), key })
    check(unpinned.store)
    assert.equal([...unpinned.recovery.records].length, 3)
    unpinned.store.close()
  })
}
