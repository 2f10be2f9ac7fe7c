/**
 * Runs benchmarks: `npm run bench -- NAME [options of that one]`; without a name, all of them. A suite is one script that
 * prints a table in Markdown, or with `--json` one JSON document. A new one is one line here.
 */
import { spawnSync } from "node:child_process"
import { join } from "node:path"

const suites: Readonly<Record<string, string>> = {
  binfs: "binfs.ts",
  cas: "cas.ts",
  filesystems: "filesystems/run.ts",
  enclave: "enclave.ts",
  protect: "protect.ts",
  start: "start.ts",
}

const [name, ...rest] = process.argv.slice(2)
const isName = name !== undefined && !name.startsWith("-")
const options = isName ? rest : process.argv.slice(2)
const chosen = isName ? [name] : Object.keys(suites)
for (const suite of chosen) {
  const script = suites[suite]
  if (script === undefined) {
    console.error(`bench: wanted one of ${Object.keys(suites).join(", ")}, found ${suite}`)
    process.exitCode = 2
    break
  }
  const path = join(import.meta.dirname, script)
  const flags = ["--disable-warning=ExperimentalWarning"]
  const run = spawnSync(process.execPath, [...flags, path, ...options], { stdio: "inherit" })
  if (run.status !== 0) process.exitCode = 1
}
