import assert from "node:assert/strict"
import { test } from "node:test"
import { volumeRehearsal } from "./volume-rehearsal.ts"

test("a volume's rehearsal comes to its end, in many steps: each answer was one", () => {
  const steps = volumeRehearsal()
  let count = 0
  while (steps.next().done !== true) count += 1
  assert.ok(count > 1000)
})
