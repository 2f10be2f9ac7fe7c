import assert from "node:assert/strict"
import { mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { readFileClock } from "./clock.ts"

function now(): bigint {
  const time = { seconds: 0, nanoseconds: 0 }
  readFileClock(time)
  return BigInt(time.seconds) * 1_000_000_000n + BigInt(time.nanoseconds)
}

test("the clock of the kernel's files: never ahead of the system's, and at most a few ticks behind", () => {
  for (let i = 0; i < 1000; i += 1) {
    const read = now()
    const behind = Date.now() + 1 - Number(read / 1_000_000n)
    assert.ok(behind >= 0 && behind < 500, `${behind} ms behind`)
  }
})

test("it does not step back", () => {
  let last = now()
  for (let i = 0; i < 100_000; i += 1) {
    const next = now()
    assert.ok(next >= last)
    last = next
  }
})

test("what the kernel stamps later is not older", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "clock-"))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, "file")
  writeFileSync(file, "")
  utimesSync(file, 0, 0)
  const before = now()
  writeFileSync(file, "x")
  assert.ok(statSync(file, { bigint: true }).mtimeNs >= before)
})
