import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { type Box, squarify } from "./treemap.ts"

const box: Box = { x: 3, y: 5, width: 400, height: 250 }

test("areas are as the weights, within the box, and do not overlap", () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0.01, max: 1e6, noNaN: true }), { maxLength: 40 }),
      (weights) => {
        const total = weights.reduce((sum, weight) => sum + weight, 0)
        const placed = squarify(
          weights.map((weight) => ({ weight })),
          box,
        )
        assert.equal(placed.length, weights.length)
        for (const { item, box: place } of placed) {
          const want = (item.weight / total) * box.width * box.height
          assert.ok(Math.abs(place.width * place.height - want) < 1e-3, `area of ${item.weight}`)
          assert.ok(place.x >= box.x - 1e-6 && place.x + place.width <= box.x + box.width + 1e-6)
          assert.ok(place.y >= box.y - 1e-6 && place.y + place.height <= box.y + box.height + 1e-6)
        }
        for (const [i, a] of placed.entries())
          for (const b of placed.slice(i + 1)) assert.ok(!overlap(a.box, b.box))
      },
    ),
    { examples: [[[992969.5462302924, 0.01]]] },
  )
})

function overlap(a: Box, b: Box): boolean {
  const slack = 1e-6
  return (
    a.x + slack < b.x + b.width - slack &&
    b.x + slack < a.x + a.width - slack &&
    a.y + slack < b.y + b.height - slack &&
    b.y + slack < a.y + a.height - slack
  )
}

test("equal weights in a square are squares", () => {
  for (const { box: place } of squarify(
    [1, 1, 1, 1].map((weight) => ({ weight })),
    { x: 0, y: 0, width: 100, height: 100 },
  ))
    assert.deepEqual([place.width, place.height], [50, 50])
})

test("nothing to draw is nothing drawn", () => {
  assert.deepEqual(squarify([], box), [])
  assert.deepEqual(squarify([{ weight: 0 }], box), [])
  assert.deepEqual(squarify([{ weight: 1 }], { ...box, width: 0 }), [])
})
