/**
 * `make test`: runs the tests with a temporary folder of their own, then fails when they left something behind: a
 * mount, a process, or a file. Arguments are the test files' patterns.
 */
import { spawnSync } from "node:child_process"
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"

const patterns = process.argv.slice(2)
const scratch = mkdtempSync("/var/tmp/coffer-test-")
chmodSync(scratch, 0o711) // PostgreSQL runs as a user of its own below it
const runId = scratch.slice(-6)

function mounts(): Set<string> {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").trim().split("\n")
  return new Set(lines.map((line) => line.split(" ")[4] ?? ""))
}

/** Processes that carry this run's mark in their environment, but for this one. */
function processes(): string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid) || pid === String(process.pid)) return false
    try {
      return readFileSync(`/proc/${pid}/environ`, "latin1").includes(`COFFER_TEST_RUN=${runId}`)
    } catch {
      return false // it has ended, or is another user's
    }
  })
}

const mountsBefore = mounts()
const run = spawnSync(
  process.execPath,
  ["--disable-warning=ExperimentalWarning", "--test", "--test-concurrency=2", ...patterns],
  { stdio: "inherit", env: { ...process.env, TMPDIR: scratch, COFFER_TEST_RUN: runId } },
)

const left = [
  ...[...mounts()].filter((at) => !mountsBefore.has(at)).map((at) => `a mount: ${at}`),
  ...processes().map(
    (pid) =>
      `a process: ${pid} ${readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ")}`,
  ),
  ...readdirSync(scratch)
    .filter((name) => name !== "node-compile-cache")
    .map((name) => `a file: ${join(scratch, name)}`),
]
for (const what of left) console.error(`the tests left behind ${what}`)
if (left.length === 0) rmSync(scratch, { recursive: true, force: true })
process.exitCode = left.length === 0 ? (run.status ?? 1) : 1
