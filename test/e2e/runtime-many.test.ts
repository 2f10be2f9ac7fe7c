import assert from "node:assert/strict"
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { lacksRun, Run } from "../support/coffer-run.ts"
import { makeTinyService, volumeRegion } from "../support/tiny-service.ts"

test("a service with more volumes than a shell has digits for their descriptors", {
  skip: lacksRun(),
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), "coffer-many-"))
  try {
    // And the binary filesystem: eight, from 3 on.
    const names = Array.from({ length: 7 }, (_, i) => `v${i}`)
    const script = `for v in ${names.join(" ")}; do echo $v >> /$v/f; done; cat /v*/f; ls -l /proc/self/fd | wc -l`
    const service = makeTinyService(folder, script, {
      name: "many",
      regions: names.map(volumeRegion),
    })
    for (const name of names) mkdirSync(join(folder, name))
    const volumes = names.flatMap((name) => ["--volume", `${name}=${join(folder, name)}`])
    const run = new Run(folder, [...volumes, service.sealed])
    assert.equal(await run.status(), 0, run.stderr)
    // No descriptor of ours is open in the service: its own four, and the header line.
    assert.equal(run.stdout, [...names, "5", ""].join("\n"))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
