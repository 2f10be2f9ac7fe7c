import assert from "node:assert/strict"
import { test } from "node:test"
import { Linger } from "./linger.ts"

/** Waits in which it looked, out of `waits`, when no request ever comes while it looks. */
function looked(linger: Linger, waits: number, sleepMs: number): number {
  let count = 0
  for (let i = 0; i < waits; i += 1) {
    if (linger.begin(false) > 0) {
      count += 1
      linger.missed()
    }
    linger.slept(sleepMs)
  }
  return count
}

test("an idle mount sleeps at once", () => {
  assert.equal(looked(new Linger(2), 1000, 50), 0)
})

test("requests that follow closely keep it awake", () => {
  const linger = new Linger(2)
  linger.slept(0.05)
  for (let i = 0; i < 100; i += 1) {
    assert.ok(linger.begin(false) > 0)
    linger.found()
  }
})

test("after requests have stopped it looks once more, and not again", () => {
  const linger = new Linger(2)
  linger.slept(0.05)
  linger.found()
  assert.ok(looked(linger, 1000, 1000) <= 1)
})

test("where looking never pays it looks ever more rarely", () => {
  const linger = new Linger(2)
  assert.ok(looked(linger, 6400, 0.02) < 120)
})

test("not while other work is due", () => {
  const linger = new Linger(2)
  linger.slept(0.05)
  assert.equal(linger.begin(true), 0)
})

test("on one processor it sleeps at once", () => {
  const linger = new Linger(1)
  linger.slept(0.05)
  assert.equal(linger.begin(false), 0)
})
