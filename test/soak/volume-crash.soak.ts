import { test } from "node:test"
import { checkReordering } from "../crash/check.ts"

// COFFER_SEED: the first seed, to repeat a failure that a run has printed.
const first = Number(process.env["COFFER_SEED"] ?? 1)

for (const anchored of [true, false])
  test(`${anchored ? "anchored" : "no anchor"}: 1,000 reorderings and tears`, () => {
    for (let seed = first; seed < first + 1000; seed += 1) checkReordering(seed, anchored)
  })
