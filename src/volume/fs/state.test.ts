import assert from "node:assert/strict"
import { test } from "node:test"
import { decodeState, encodeState } from "./state.ts"

const state = {
  root: { segment: 1, offset: 64, size: 24 },
  seedA: 7,
  seedB: 8,
  nextInode: 2 ** 40,
  inodeCount: 9,
  tables: [{ segment: 1, offset: 128, size: 8 }],
}

test("a state comes back as it was", () => {
  assert.deepEqual(decodeState(encodeState(state)), state)
})

test("the state of another version is refused, and the message says which", () => {
  const bytes = encodeState(state)
  const refused = (version: string) => {
    bytes[3] = version.charCodeAt(0)
    const found = version === "1" ? "found version 1" : "found another"
    assert.throws(
      () => decodeState(bytes),
      (error: Error) => error.message === `volume state: wanted version 2, ${found}`,
    )
  }
  refused("1")
  refused("3")
})
