import assert from "node:assert/strict"
import { cpSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { CofferError } from "../../src/errors.ts"
import {
  createStore,
  NodeDisk,
  openStore,
  openStoreForReading,
  PinFile,
} from "../../src/volume/index.ts"
import { type Files, RecordingDisk } from "../crash/recording-disk.ts"
import { checkContent, create, key, MemoryAnchor, reopen, Tiny } from "../crash/workload.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-fresh-"))
after(() => rmSync(folder, { recursive: true }))
let count = 0

interface Made {
  readonly directory: string
  readonly pin: string
}

function newVolume(): Made {
  count += 1
  const made = { directory: join(folder, `v${count}`), pin: join(folder, `p${count}`) }
  const anchor = PinFile.create(made.pin)
  const opened = createStore({
    disk: new NodeDisk(made.directory),
    key,
    protection: "encrypted",
    anchor,
  })
  work(new Tiny(opened))
  opened.store.close()
  anchor.close()
  return made
}

function work(tiny: Tiny): void {
  tiny.put(100)
  tiny.commit(true)
}

function write({ directory, pin }: Made): void {
  const anchor = PinFile.open(pin, "write")
  try {
    const opened = openStore({ disk: new NodeDisk(directory), key, anchor })
    work(new Tiny(opened))
    opened.store.close()
  } finally {
    anchor.close()
  }
}

function failsWith(code: string) {
  return (error: unknown) => {
    assert.ok(error instanceof CofferError, String(error))
    assert.equal(error.code, code, error.message)
    return true
  }
}

function both(made: Made, code: string): void {
  assert.throws(() => write(made), failsWith(code))
  const anchor = PinFile.open(made.pin, "read")
  assert.throws(
    () => openStoreForReading({ disk: new NodeDisk(made.directory), key, anchor }),
    failsWith(code),
  )
  anchor.close()
}

test("the whole directory put back to an older state is a rollback", () => {
  const made = newVolume()
  const old = `${made.directory}.old`
  cpSync(made.directory, old, { recursive: true })
  write(made)
  rmSync(made.directory, { recursive: true })
  renameSync(old, made.directory)
  both(made, "rollback")
})

test("an emptied or absent directory is a rollback, never a fresh volume", () => {
  const made = newVolume()
  for (const name of readdirSync(made.directory))
    rmSync(join(made.directory, name), { recursive: true })
  both(made, "rollback")
  rmSync(made.directory, { recursive: true })
  both(made, "rollback")
})

test("a lost pin is a rollback, and a pin that was never used opens nothing", () => {
  const made = newVolume()
  rmSync(made.pin)
  assert.throws(() => write(made), failsWith("rollback"))
  PinFile.create(made.pin).close()
  both(made, "rollback")
})

test("another volume in the directory is a rollback", () => {
  const [one, two] = [newVolume(), newVolume()]
  both({ directory: two.directory, pin: one.pin }, "rollback")
})

test("a used pin makes no second volume", () => {
  const { pin } = newVolume()
  const anchor = PinFile.open(pin, "write")
  const disk = new NodeDisk(join(folder, "second"))
  assert.throws(
    () => createStore({ disk, key, protection: "encrypted", anchor }),
    failsWith("rollback"),
  )
  anchor.close()
})

test("a clone that both sides write under one pin is a fork", () => {
  const made = newVolume()
  const clone = `${made.directory}.clone`
  cpSync(made.directory, clone, { recursive: true })
  const left = PinFile.open(made.pin, "write")
  const right = PinFile.open(made.pin, "write")
  const one = openStore({ disk: new NodeDisk(made.directory), key, anchor: left })
  // The other side finds the pin at a commit that its copy does not have.
  assert.throws(
    () => openStore({ disk: new NodeDisk(clone), key, anchor: right }),
    failsWith("rollback"),
  )
  work(new Tiny(one))
  rmSync(clone, { recursive: true })
  cpSync(made.directory, clone, { recursive: true })
  // A copy of a running volume takes it over: from then on the first writer is refused.
  const two = openStore({ disk: new NodeDisk(clone), key, anchor: right })
  const tiny = new Tiny(one)
  tiny.put(10)
  assert.throws(() => tiny.commit(true), failsWith("rollback"))
  assert.throws(() => tiny.commit(true), failsWith("rollback"))
  one.store.close()
  work(new Tiny(two))
  two.store.close()
  left.close()
  right.close()
})

test("every older state of every file put back", () => {
  const disk = new RecordingDisk()
  const anchor = new MemoryAnchor()
  const states: Files[] = []
  const tiny = create(disk, "encrypted", anchor)
  for (let i = 0; i < 4; i += 1) {
    work(tiny)
    states.push(disk.files)
  }
  tiny.checkpoint()
  tiny.store.close()
  const second = reopen(disk, anchor)
  work(second)
  second.store.close()
  const now = disk.files
  for (const state of states) {
    assert.throws(
      () => reopen(new RecordingDisk(state), new MemoryAnchor(anchor.state)),
      failsWith("rollback"),
    )
    for (const [name, old] of state) {
      if (now.get(name)?.equals(old) === true) continue
      const mixed = new RecordingDisk(new Map(now).set(name, old))
      try {
        const opened = reopen(mixed, new MemoryAnchor(anchor.state))
        assert.equal(opened.sets, second.sets)
        checkContent(opened.store, opened.items)
        opened.store.close()
      } catch (error) {
        assert.ok(error instanceof CofferError, String(error))
        assert.ok(error.code === "integrity" || error.code === "rollback", error.message)
      }
    }
  }
})

test("a branch that was hidden is dead when it comes back", () => {
  const disk = new RecordingDisk()
  const anchor = new MemoryAnchor()
  const tiny = create(disk, "encrypted", anchor)
  work(tiny)
  const fork = disk.files
  const pinned = anchor.state
  // Commits after the anchored tag, which the anchor never hears of: a crash.
  tiny.put(200)
  tiny.commit(false)
  tiny.store.flush()
  const hidden = disk.files
  // The adversary hides them, and the volume goes on without.
  const shown = new RecordingDisk(fork)
  const other = new MemoryAnchor(pinned)
  const second = reopen(shown, other)
  assert.equal(second.sets, 1)
  work(second)
  second.store.close()
  // Now they come back, on top of what is there.
  const merged = new Map([...shown.files, ...hidden])
  const third = reopen(new RecordingDisk(merged), other)
  assert.equal(third.sets, 2)
  assert.deepEqual([...third.items], [...second.items])
  checkContent(third.store, third.items)
  third.store.close()
})

test("the longest valid chain after the anchored tag counts", () => {
  const disk = new RecordingDisk()
  const anchor = new MemoryAnchor()
  const tiny = create(disk, "encrypted", anchor)
  work(tiny)
  const pinned = anchor.state
  for (let i = 0; i < 3; i += 1) work(tiny)
  const later = new MemoryAnchor(pinned)
  const reader = openStoreForReading({
    disk: new RecordingDisk(disk.files),
    key,
    anchor: new MemoryAnchor(pinned),
  })
  assert.equal([...reader.recovery.records].length, 1, "a reader serves exactly the anchored tag")
  reader.store.close()
  const second = reopen(new RecordingDisk(disk.files), later)
  assert.equal(second.sets, 4)
  second.store.close()
})

test("an answer of the anchor that was lost, before or after the move, is no other writer; another writer still is one", () => {
  for (const when of ["before", "after"] as const) {
    const disk = new RecordingDisk()
    const anchor = new MemoryAnchor()
    const tiny = create(disk, "encrypted", anchor)
    loseAnswers(anchor, when, () => {
      for (let i = 0; i < 2; i += 1) {
        tiny.put(100)
        assert.throws(() => tiny.commit(true), failsWith("io"))
      }
    })
    work(tiny)
    tiny.store.close()
    const again = reopen(new RecordingDisk(disk.files), new MemoryAnchor(anchor.state))
    assert.equal(again.items.size, 3)
    checkContent(again.store, again.items)
  }
  const disk = new RecordingDisk()
  const anchor = new MemoryAnchor()
  const tiny = create(disk, "encrypted", anchor)
  loseAnswers(anchor, "before", () => {
    tiny.put(100)
    assert.throws(() => tiny.commit(true), failsWith("io"))
  })
  reopen(new RecordingDisk(disk.files), anchor)
  tiny.put(100)
  assert.throws(() => tiny.commit(true), failsWith("rollback"))
})

function loseAnswers(anchor: MemoryAnchor, when: "before" | "after", meanwhile: () => void): void {
  const move = anchor.move.bind(anchor)
  anchor.move = (from, to) => {
    if (when === "after") move(from, to)
    throw new CofferError("io", "no answer")
  }
  meanwhile()
  anchor.move = move
}
