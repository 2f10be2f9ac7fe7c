import assert from "node:assert/strict"

const patienceMs = 10_000
const pauseMs = 20

/**
 * What `find` finds must be nothing, soon: whoever is told that a container has ended, or could not be made, may still see
 * the last milliseconds of a process that has nothing left to do.
 */
export function assertNothingLeft(find: () => string[]): void {
  const clock = new Int32Array(new SharedArrayBuffer(4))
  let left = find()
  for (let waited = 0; left.length > 0 && waited < patienceMs; waited += pauseMs) {
    Atomics.wait(clock, 0, 0, pauseMs)
    left = find()
  }
  assert.deepEqual(left, [])
}
