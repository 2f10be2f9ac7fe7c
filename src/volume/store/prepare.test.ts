import assert from "node:assert/strict"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import type { Anchor, AnchorState } from "./anchor.ts"
import type { Freshness } from "./freshness.ts"
import { NodeDisk } from "./node-disk.ts"
import { createStore } from "./open.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-prepare-"))
after(() => rmSync(folder, { recursive: true, force: true }))

let count = 0

/** A store, and what its disk and its anchor were asked for. */
function recorded(freshness: Freshness) {
  const events: string[] = []
  const failing = { sync: false }
  class Recorded extends NodeDisk {
    override writeSoon(fd: number, offset: number, size: number): void {
      events.push("begin")
      super.writeSoon(fd, offset, size)
    }
    override sync(fd: number): void {
      events.push("sync")
      if (failing.sync) throw Object.assign(new Error("EIO"), { code: "EIO" })
      super.sync(fd)
    }
  }
  let held: AnchorState | "new" = "new"
  let prepared: readonly unknown[] = []
  const anchor: Anchor = {
    name: "recorded",
    read: () => held,
    prepare(...states) {
      prepared = states
      events.push("prepare")
    },
    move(...states) {
      const same = states.every((state, i) => state === prepared[i])
      events.push(same ? "move" : "move, not as prepared")
      held = states[1]
      return true
    },
    close: () => undefined,
  }
  count += 1
  const disk = new Recorded(join(folder, `volume-${count}`))
  const settings = { freshness }
  const made = {
    disk,
    key: Buffer.alloc(32, 7),
    protection: "encrypted",
    anchor,
    settings,
  } as const
  const { store } = createStore(made)
  events.splice(0)
  return { store, events, failing }
}

test("the disk begins, then the anchor prepares; it moves only after the sync", () => {
  const { store, events } = recorded({ mode: "strict" })
  for (const words of ["one", "two"]) {
    store.commit(Buffer.from(words), true)
    assert.deepEqual(events.splice(0), ["begin", "prepare", "sync", "move"])
  }
  store.commit(Buffer.from("three"), false)
  assert.deepEqual(events, [])
  store.close()
})

test("what was prepared is left when the sync fails", () => {
  const { store, events, failing } = recorded({ mode: "strict" })
  failing.sync = true
  assert.throws(() => store.commit(Buffer.from("one"), true), /read-only now/)
  failing.sync = false
  assert.throws(() => store.commit(Buffer.from("two"), true), /read-only now/)
  store.close()
  assert.deepEqual(events, ["begin", "prepare", "sync"])
})

test("where an fsync does not wait for the anchor nothing is prepared", () => {
  const { store, events } = recorded({ mode: "periodic", everyMs: 60_000, everyCommits: 2 })
  store.commit(Buffer.from("one"), true)
  store.commit(Buffer.from("two"), true)
  assert.deepEqual(events, ["begin", "sync", "begin", "sync", "move, not as prepared"])
  store.close()
})
