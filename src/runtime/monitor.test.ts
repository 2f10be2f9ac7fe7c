import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"

const program = `
import { Monitor } from "${new URL("monitor.ts", import.meta.url).href}"
const monitor = new Monitor(["touch", process.argv[2]], () => process.exit(3))
monitor.watch(undefined)
process.stdout.write("watched")
setInterval(() => undefined, 1000)
`

test("when its process is killed the monitor kills the container, by the system's programs whatever PATH says", async () => {
  const folder = mkdtempSync(join(tmpdir(), "coffer-monitor-"))
  const [main, killed, fooled] = ["main.mjs", "killed", "fooled"].map((name) => join(folder, name))
  assert.ok(main !== undefined && killed !== undefined && fooled !== undefined)
  try {
    writeFileSync(main, program)
    for (const name of ["sh", "cat", "sleep", "touch"])
      writeFileSync(join(folder, name), `#!/bin/sh\n: >${fooled}\n`, { mode: 0o755 })
    const child = spawn(process.execPath, [main, killed], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { PATH: folder },
    })
    await once(child.stdout, "data")
    child.kill("SIGKILL")
    for (let i = 0; i < 200 && !existsSync(killed); i += 1) await sleep(50)
    assert.equal(existsSync(killed), true)
    assert.equal(existsSync(fooled), false)
  } finally {
    rmSync(folder, { recursive: true })
  }
})
