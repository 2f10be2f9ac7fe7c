/** The checks that run no test: types, format, lint, unused code. Each must be silent; all run, then the first failure counts. */
import { spawnSync } from "node:child_process"

const folders = ["src", "test", "tools", "bench", "examples"]
const checks: readonly (readonly string[])[] = [
  ["tsc", "-p", "."],
  ["biome", "check", ...folders],
  ["oxlint", ...folders],
  ["knip"],
]

let failed = false
for (const [tool = "", ...args] of checks) {
  const run = spawnSync(`node_modules/.bin/${tool}`, args, { encoding: "utf8" })
  if (run.status === 0) continue
  failed = true
  console.error(`${tool} ${args.join(" ")}\n${run.stdout}${run.stderr}`)
}
process.exitCode = failed ? 1 : 0
