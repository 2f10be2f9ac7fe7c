import assert from "node:assert/strict"
import { test } from "node:test"
import { lacksRun } from "../support/coffer-run.ts"
import { lacksPodman } from "../support/podman.ts"
import { KillBench } from "../support/runtime-kill.ts"

const rounds = 100

test(`kill -9 of everything, ${rounds} times, while a service writes`, {
  skip: lacksRun() || lacksPodman(),
}, async (t) => {
  const seed = Date.now() % 1_000_000
  const bench = new KillBench(seed)
  try {
    await bench.prepare()
    const report = await bench.run(rounds, (line) => t.diagnostic(line))
    t.diagnostic(JSON.stringify({ seed, ...report }))
    assert.ok(report.acked > rounds)
  } finally {
    await bench.close()
  }
})
