import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { LookupCounts } from "./lookups.ts"

test("counts are those of a map, through growth and removal", () => {
  const inode = fc.oneof(
    fc.integer({ min: 1, max: 40 }),
    fc.integer({ min: 1, max: 3 }).map((n) => n * 2 ** 40 + 7),
  )
  const step = fc.record({ inode, forget: fc.boolean(), count: fc.integer({ min: 1, max: 3 }) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const counts = new LookupCounts()
      const model = new Map<number, number>()
      for (const { inode: key, forget, count } of steps) {
        const known = model.get(key) ?? 0
        if (forget) {
          assert.equal(counts.decrement(key, count), known > 0 && known <= count)
          if (known <= count) model.delete(key)
          else model.set(key, known - count)
        } else {
          counts.increment(key)
          model.set(key, known + 1)
        }
        assert.equal(counts.size, model.size)
      }
    }),
    { numRuns: 300 },
  )
})

test("a hundred thousand consecutive inodes come and go", () => {
  const counts = new LookupCounts()
  for (let i = 1; i <= 100_000; i += 1) counts.increment(i)
  assert.equal(counts.size, 100_000)
  for (let i = 1; i <= 100_000; i += 1) assert.ok(counts.decrement(i, 1))
  assert.equal(counts.size, 0)
  assert.ok(!counts.has(5))
})
