import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"
import { lacksRun, Run } from "../support/coffer-run.ts"
import { makeTinyService, volumeRegion } from "../support/tiny-service.ts"

const root = new URL("../..", import.meta.url).pathname

function ps(option: string): string {
  const { stdout } = spawnSync(join(root, "coffer"), ["ps", option], {
    encoding: "utf8",
    env: { ...process.env, COFFER_FROM_SOURCE: "1" },
  })
  return stdout
}

interface Shown {
  readonly name: string
  readonly mrEnclave: string
  readonly volumes: readonly string[]
  readonly residentBytes: number
  readonly cpuSeconds: number
  readonly filesystems: Readonly<Record<string, { readonly bytesWritten: number }>>
}

test("coffer ps: what runs, what its shield costs, what its filesystems do", {
  skip: lacksRun(),
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), "coffer-ps-"))
  const name = `ps-${process.pid}`
  const write = "echo hello > /data/a; sync /data/a; echo written; sleep 60"
  const service = makeTinyService(folder, write, { name, regions: [volumeRegion("data")] })
  mkdirSync(join(folder, "data"))
  const run = new Run(folder, ["--volume", `data=${folder}/data`, service.sealed])
  try {
    await run.says(/written/)
    let shown: Shown | undefined
    for (let i = 0; i < 20 && !shown?.filesystems["/data"]?.bytesWritten; i += 1) {
      await sleep(500)
      const all = JSON.parse(ps("--json")) as Shown[]
      shown = all.find((one) => one.name === name)
    }
    assert.ok(shown)
    assert.equal(shown.mrEnclave, service.mrEnclave)
    assert.deepEqual(shown.volumes, [`${name}/data/0`])
    assert.ok(shown.residentBytes > 1e7 && shown.cpuSeconds > 0.01)
    assert.equal(shown.filesystems["/data"]?.bytesWritten, 6)
    const metrics = ps("--metrics")
    assert.match(metrics, /^# TYPE coffer_written_bytes_total counter$/m)
    const labels = `name="${name}",mrenclave="${service.mrEnclave}"`
    assert.match(
      metrics,
      new RegExp(`^coffer_written_bytes_total{id="[^"]+",${labels},path="/data"} 6$`, "m"),
    )
    assert.match(metrics, new RegExp(`^coffer_enclave_info{id="[^"]+",${labels}} 1$`, "m"))
  } finally {
    run.child.kill("SIGKILL")
    await run.status()
    rmSync(folder, { recursive: true, force: true })
  }
})
