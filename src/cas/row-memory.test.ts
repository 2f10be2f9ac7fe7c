import assert from "node:assert/strict"
import { test } from "node:test"
import { randomBytes } from "../crypto/index.ts"
import { RowMemory } from "./row-memory.ts"
import { RowSealer } from "./rows.ts"

test("a row with the same bytes is the object that was put; any other is opened, or refused", () => {
  const sealer = new RowSealer(randomBytes(32))
  const memory = new RowMemory(sealer)
  const first = { n: 1 }
  const sealed = memory.seal("volumes", "shop/data/0", first)
  assert.equal(memory.open("volumes", "shop/data/0", Uint8Array.from(sealed)), first)
  assert.deepEqual(sealer.open("volumes", "shop/data/0", sealed), first)
  const second = memory.seal("volumes", "shop/data/0", { n: 2 })
  // An older row that was put back, one of another place, one that was changed.
  assert.deepEqual(memory.open("volumes", "shop/data/0", sealed), { n: 1 })
  assert.deepEqual(memory.open("volumes", "shop/data/0", second), { n: 2 })
  assert.throws(() => memory.open("volumes", "shop/data/1", second), /sealed/)
  const forged = Uint8Array.from(second, (byte, i) => (i === second.length - 1 ? byte ^ 1 : byte))
  assert.throws(() => memory.open("volumes", "shop/data/0", forged), /sealed/)
})

test("weights and places are the sealer's, of the row that is there", () => {
  const sealer = new RowSealer(randomBytes(32))
  const memory = new RowMemory(sealer)
  const sealed = [1, 2].map((n) => memory.seal("volumes", "a", { n }))
  for (const row of [...sealed, ...sealed, new Uint8Array(50)])
    assert.equal(memory.weight("volumes", "a", row), sealer.weight("volumes", "a", row))
  assert.equal(memory.weight("volumes", "a", undefined), 0n)
  for (const key of ["a", "b", "a"])
    assert.equal(memory.place("volumes", key), sealer.place("volumes", key))
})
