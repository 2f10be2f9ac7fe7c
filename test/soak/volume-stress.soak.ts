/**
 * Each of stress-ng's filesystem stressors on a volume and on the disk below it: the same verdict, but for what `docs/posix.md`
 * lists. COFFER_SECONDS: how long each runs.
 */
import assert from "node:assert/strict"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { stress } from "../apps/stress-ng.ts"
import { lacks, run } from "../support/run.ts"
import { cannotServe, withDaemon } from "../support/volume-daemon.ts"

const seconds = Number(process.env["COFFER_SECONDS"] ?? 2)
/** An ioctl that asks where the blocks of a file are on the disk. */
const differs = new Set(["fiemap"])

function stressors(): string[] {
  const text = run(["sh", "-c", "stress-ng --class 'filesystem?' 2>&1 || true"])
  return (/class 'filesystem' stressors: (.*)/.exec(text)?.[1] ?? "").trim().split(" ")
}

test(
  "stress-ng, class filesystem: a volume passes what the disk passes",
  {
    skip: cannotServe() || lacks("stress-ng"),
  },
  (t) =>
    withDaemon({}, async (daemon) => {
      const native = join(daemon.folder, "native")
      mkdirSync(native)
      const worse: string[] = []
      for (const name of stressors()) {
        const disk = stress(native, [name], seconds)
        const volume = stress(daemon.mount, [name], seconds)
        const share = disk.rate === 0 ? "-" : (volume.rate / disk.rate).toFixed(2)
        t.diagnostic(`${name}: disk ${disk.verdict}, volume ${volume.verdict}, rate ${share}`)
        if (volume.verdict !== disk.verdict && !differs.has(name))
          worse.push(`${name}: ${volume.verdict}: ${volume.faults.join("; ")}`)
      }
      assert.deepEqual(worse, [])
      assert.equal(daemon.errors, "")
      await daemon.stop()
      daemon.checkWhole()
    }),
)
