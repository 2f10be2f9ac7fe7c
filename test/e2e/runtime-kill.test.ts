import assert from "node:assert/strict"
import { test } from "node:test"
import { lacksRun } from "../support/coffer-run.ts"
import { lacksPodman } from "../support/podman.ts"
import { KillBench } from "../support/runtime-kill.ts"

// test/soak/runtime-kill.soak.ts does a hundred.
test("kill -9 while the service writes: podman rm -f, run again, nothing acknowledged is lost", {
  skip: lacksRun() || lacksPodman(),
}, async () => {
  const bench = new KillBench(Date.now() % 1_000_000)
  try {
    await bench.prepare()
    assert.ok((await bench.run(3)).acked > 0)
  } finally {
    await bench.close()
  }
})
