import assert from "node:assert/strict"
import { test } from "node:test"
import { CofferError } from "../../src/errors.ts"
import { afterCut, RecordingDisk } from "./recording-disk.ts"
import { checkContent, create, MemoryAnchor, reopen } from "./workload.ts"

function ioError(reason: string) {
  return (error: unknown) => {
    assert.ok(error instanceof CofferError, String(error))
    assert.equal(error.code, "io")
    assert.equal(error.reason, reason)
    return true
  }
}

test("a failed fdatasync is never tried again: read-only from then on, all that was acknowledged stays", () => {
  for (let nth = 0; nth < 6; nth += 1) {
    const disk = new RecordingDisk()
    const anchor = new MemoryAnchor()
    const tiny = create(disk, "encrypted", anchor)
    tiny.put(100)
    tiny.commit(true)
    disk.failSync = nth
    let acknowledged = tiny.sets
    assert.throws(() => {
      for (;;) {
        tiny.put(3000)
        tiny.commit(true)
        acknowledged = tiny.sets
      }
    }, ioError("write-failed"))
    const syncs = disk.events.filter(({ kind }) => kind === "sync").length
    assert.throws(() => tiny.commit(true), ioError("write-failed"))
    assert.throws(() => tiny.put(4), ioError("write-failed"))
    assert.throws(() => tiny.checkpoint(), ioError("write-failed"))
    assert.equal(disk.events.filter(({ kind }) => kind === "sync").length, syncs)
    checkContent(tiny.store, new Map([...tiny.items].slice(0, acknowledged)))
    tiny.store.close()
    assert.equal(disk.openCount, 0)
    // The kernel has dropped what it could not write.
    const files = afterCut(disk.events, disk.events.length, () => false)
    const again = reopen(new RecordingDisk(files), anchor)
    assert.ok(again.sets >= acknowledged)
    checkContent(again.store, again.items)
    again.store.close()
  }
})

test("a full disk is ENOSPC to who writes; reads, commits and compaction go on, space comes back", () => {
  const disk = new RecordingDisk()
  const tiny = create(disk, "encrypted", undefined, 1024 * 1024)
  disk.capacity = 12 * 1024 * 1024
  const fill = () => {
    for (;;) tiny.put(20_000)
  }
  assert.throws(fill, ioError("disk-full"))
  const count = tiny.items.size
  assert.ok(count > 100, `${count} frames`)
  tiny.commit(true)
  checkContent(tiny.store, tiny.items)
  assert.throws(fill, ioError("disk-full"))
  // Half of it is deleted, and a full disk's reserve is enough to compact the rest.
  for (const id of [...tiny.items.keys()].filter((key) => key % 2 === 0)) tiny.items.delete(id)
  tiny.checkpoint()
  tiny.store.reserveUse = "most"
  for (let i = 0; i < 8; i += 1) {
    tiny.compact()
    tiny.checkpoint()
  }
  tiny.store.reserveUse = "none"
  tiny.store.tick(Date.now())
  tiny.put(20_000)
  tiny.commit(true)
  checkContent(tiny.store, tiny.items)
  tiny.store.close()
  assert.equal(disk.openCount, 0)
  const again = reopen(disk)
  checkContent(again.store, again.items)
  again.store.close()
})

test("an anchor that refuses stops the writer; one that fails for a while does not", () => {
  const disk = new RecordingDisk()
  let down = false
  class Flaky extends MemoryAnchor {
    override move(...states: Parameters<MemoryAnchor["move"]>): boolean {
      if (down) throw new CofferError("io", "no network")
      return super.move(...states)
    }
  }
  const anchor = new Flaky()
  const tiny = create(disk, "encrypted", anchor)
  tiny.put(10)
  tiny.commit(true)
  down = true
  tiny.put(20)
  assert.throws(() => tiny.commit(true), /no network/)
  down = false
  tiny.commit(true)
  const { state } = anchor
  assert.ok(state !== "new" && state.sequence > 2)
  anchor.state = { ...state, epoch: state.epoch + 1 }
  tiny.put(30)
  for (let i = 0; i < 2; i += 1)
    assert.throws(
      () => tiny.commit(true),
      (error) =>
        error instanceof CofferError && error.code === "rollback" && error.reason === "fork",
    )
  checkContent(tiny.store, tiny.items)
  tiny.store.close()
})
