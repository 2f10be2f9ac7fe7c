import { test } from "node:test"
import { checkCut, checkReordering, firstCut, record } from "./check.ts"

for (const anchored of [true, false]) {
  const name = anchored ? "anchored" : "no anchor"
  for (const seed of [1, 2]) {
    test(`${name}, seed ${seed}: a cut at every write and sync loses nothing that was acknowledged`, () => {
      const recorded = record(seed, anchored)
      for (let count = firstCut(recorded.events); count <= recorded.events.length; count += 1) {
        checkCut(recorded, count, () => true, anchored)
        checkCut(recorded, count, () => false, anchored)
      }
    })
  }

  test(`${name}: writes between syncs in any order, torn at any sector`, () => {
    for (let seed = 1; seed <= 60; seed += 1) checkReordering(seed, anchored)
  })
}
