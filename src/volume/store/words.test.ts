import assert from "node:assert/strict"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import type { Anchor, AnchorState } from "./anchor.ts"
import { NodeDisk } from "./node-disk.ts"
import { createStore, openStore, openStoreForReading } from "./open.ts"

const folder = mkdtempSync(join(tmpdir(), "coffer-words-"))
after(() => rmSync(folder, { recursive: true, force: true }))
const key = Buffer.alloc(32, 7)

/** An anchor in memory, whose keeper's word is a number that rises with each move. */
class Keeper {
  state: AnchorState | "new" = "new"
  word = 0
  /** What each opening has shown. */
  readonly shown: (readonly number[])[] = []

  anchor(): Anchor {
    let word = Buffer.from([this.word])
    return {
      name: "keeper",
      read: () => this.state,
      move: (_, to) => {
        this.state = to
        this.word += 1
        word = Buffer.from([this.word])
        return true
      },
      seen: () => word,
      requireNotBehind: (words) => this.shown.push(words.map(([value = -1]) => value)),
      close: () => undefined,
    }
  }
}

const directory = join(folder, "volume")
const disk = () => new NodeDisk(directory)

test("an opening shows the chain's newest word, and those of segments that the chain does not name", () => {
  const keeper = new Keeper()
  const create = { disk: disk(), key, protection: "encrypted", anchor: keeper.anchor() } as const
  const first = createStore(create).store
  first.commit(Buffer.from("one"), true)
  first.checkpoint(Buffer.from("state"))
  first.close()
  const older = { state: keeper.state, word: keeper.word }
  const open = () => openStore({ disk: disk(), key, anchor: keeper.anchor() }).store
  const second = open()
  assert.deepEqual(
    keeper.shown.splice(0),
    [[older.word - 1]],
    "the closing commit's, before its move",
  )
  second.commit(Buffer.from("two"), true)
  second.close()
  openStoreForReading({ disk: disk(), key, anchor: keeper.anchor() })
  assert.deepEqual(keeper.shown.splice(0), [[keeper.word - 1]])
  // The keeper is put back: from its older commit no chain leads to the second writer's segment, and yet its word is shown.
  Object.assign(keeper, older)
  openStoreForReading({ disk: disk(), key, anchor: keeper.anchor() })
  const [words = []] = keeper.shown.splice(0)
  assert.deepEqual(words, [older.word - 1, older.word])
})

test("a keeper that says no ends the opening before anything is written", () => {
  const keeper = new Keeper()
  const place = join(folder, "other")
  const create = { disk: new NodeDisk(place), key, protection: "encrypted" } as const
  createStore({ ...create, anchor: keeper.anchor() }).store.close()
  const before = { state: keeper.state, word: keeper.word }
  const refusing: Anchor = {
    ...keeper.anchor(),
    requireNotBehind: () => {
      throw new Error("behind")
    },
  }
  assert.throws(() => openStore({ disk: new NodeDisk(place), key, anchor: refusing }), /behind/)
  assert.deepEqual([keeper.state, keeper.word], [before.state, before.word])
  // The lock is free again.
  openStore({ disk: new NodeDisk(place), key, anchor: keeper.anchor() }).store.close()
})

test("without a keeper that gives words nothing is kept, and what the chain has stays", () => {
  const keeper = new Keeper()
  const place = join(folder, "plain")
  const make = { disk: new NodeDisk(place), key, protection: "encrypted" } as const
  createStore({ ...make, anchor: keeper.anchor() }).store.close()
  const kept = keeper.word - 1
  const store = openStore({ disk: new NodeDisk(place), key }).store
  store.commit(Buffer.from("x"), true)
  store.checkpoint(Buffer.from("y"))
  store.close()
  // The anchor has not moved: it is moved by hand to where the chain is.
  const { info } = openStoreForReading({ disk: new NodeDisk(place), key })
  assert.ok(keeper.state !== "new")
  keeper.state = {
    ...keeper.state,
    sequence: info.sequence,
    tag: info.tag,
    salt: new Uint8Array(32),
    offset: 0,
  }
  openStoreForReading({ disk: new NodeDisk(place), key, anchor: keeper.anchor() })
  assert.deepEqual(keeper.shown.at(-1), [kept])
})
