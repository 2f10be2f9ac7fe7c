import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { join } from "node:path"

export interface Stressed {
  /** stress-ng's own word: `passed`, `failed`, `skipped`. */
  readonly verdict: string
  /** What it calls bogus operations, a second. */
  readonly rate: number
  /** Lines of its report that name a fault. */
  readonly faults: readonly string[]
}

/** Runs stressors, all at the same time, in a folder of their own below `directory`. */
export function stress(directory: string, names: readonly string[], seconds: number): Stressed {
  const folder = mkdtempSync(join(directory, "stress-"))
  mkdirSync(folder, { recursive: true })
  const options = ["--verify", "--metrics-brief", "--oomable", "-t", String(seconds)]
  const stressors = names.flatMap((name) => [`--${name}`, "1"])
  const ran = spawnSync("stress-ng", [...stressors, ...options, "--temp-path", folder], {
    encoding: "utf8",
    timeout: (seconds + 120) * 1000,
  })
  const text = ran.stdout + ran.stderr
  rmSync(folder, { recursive: true, force: true })
  return {
    verdict: verdictOf(ran.status, text),
    rate: Number(/^stress-ng: metrc: .*?\s+([\d.]+)\s+[\d.]+\s*$/m.exec(text)?.[1] ?? 0),
    faults: text.split("\n").filter((line) => /\b(fail|error):/.test(line)),
  }
}

function verdictOf(status: number | null, text: string): string {
  if (status !== 0) return `failed with status ${status}`
  return /skipping stress/.test(text) ? "skipped" : "passed"
}

/** Fails when one of the stressors finds a fault. */
export function checkStressors(directory: string, names: readonly string[], seconds: number): void {
  const { verdict, faults } = stress(directory, names, seconds)
  assert.deepEqual({ verdict, faults }, { verdict: "passed", faults: [] })
}
