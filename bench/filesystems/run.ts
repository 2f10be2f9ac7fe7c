/**
 * `npm run bench -- filesystems`: native disk, coffer and its peers in turn, one table of medians and ratios to native.
 *
 *   --quick            small sizes, for development
 *   --rounds N         default 3; each round runs every filesystem once, so that drift of the machine hits all
 *   --only a,b         these filesystems
 *   --rows text        rows whose name contains the text
 *   --dir DIR          a folder on the disk to measure, default /var/tmp
 *   --json FILE        the figures, also as JSON
 */
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { cpus, release } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { median, table } from "./report.ts"
import { type Bench, fullSizes, quickSizes, type Row, rows } from "./rows.ts"
import { type DaemonUse, daemonUse, type System, systems } from "./systems.ts"

/** Figures by row name, one for each round. */
type Figures = Map<string, number[]>

interface Measured {
  readonly system: System
  readonly figures: Figures
  readonly use: DaemonUse[]
}

function dropCaches(): void {
  spawnSync("sync")
  writeFileSync("/proc/sys/vm/drop_caches", "3")
}

/** One filesystem through all rows, from empty. */
async function round(
  system: System,
  chosen: readonly Row[],
  home: string,
  base: Omit<Bench, "at">,
): Promise<{ figures: [string, number][]; use: DaemonUse }> {
  const figures: [string, number][] = []
  let cpuSeconds = 0
  let peakRss = 0
  const leave = async () => {
    const use = daemonUse(home)
    cpuSeconds += use.cpuSeconds
    peakRss = Math.max(peakRss, use.peakRss)
    await system.unmount(home)
  }
  mkdirSync(home)
  system.create(home)
  let at = await system.mount(home)
  try {
    for (const row of chosen) {
      if (row.cold) {
        await leave()
        dropCaches()
        at = await system.mount(home)
      }
      figures.push([row.name, row.run({ ...base, at })])
      progress(`${system.name}: ${row.name}`)
    }
  } finally {
    await leave()
    rmSync(home, { recursive: true, force: true })
  }
  return { figures, use: { cpuSeconds, peakRss } }
}

function keep({ figures, use }: Measured, result: Awaited<ReturnType<typeof round>>): void {
  for (const [name, figure] of result.figures) {
    figures.set(name, [...(figures.get(name) ?? []), figure])
  }
  use.push(result.use)
}

function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}

/** A real source tree for tar, grep and git: this machine's Python standard library. */
function makeTar(file: string): void {
  const library = spawnSync(
    "python3",
    ["-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"],
    { encoding: "utf8" },
  )
  const exclude = [
    "--exclude=__pycache__",
    "--exclude=site-packages",
    "--exclude=test",
    "--exclude=config-*",
    "--exclude=*.so",
  ]
  const made = spawnSync("tar", ["-cf", file, ...exclude, "-C", library.stdout.trim(), "."])
  if (made.status !== 0) throw new Error(`tar: ${made.stderr.toString()}`)
}

async function benchFilesystems(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      quick: { type: "boolean", default: false },
      rounds: { type: "string", default: "3" },
      only: { type: "string" },
      rows: { type: "string", default: "" },
      dir: { type: "string", default: "/var/tmp" },
      json: { type: "string" },
    },
  })
  const names = values.only?.split(",")
  const measured = systems
    .filter((system) => system.absent === undefined && (names?.includes(system.name) ?? true))
    .map((system): Measured => ({ system, figures: new Map(), use: [] }))
  const chosen = rows.filter((row) => row.name.includes(values.rows))
  const work = mkdtempSync(join(values.dir, "coffer-bench-"))
  try {
    const tarFile = join(work, "tree.tar")
    makeTar(tarFile)
    const base = { sizes: values.quick ? quickSizes : fullSizes, tarFile }
    for (let i = 0; i < Number(values.rounds); i += 1) {
      for (const entry of measured) {
        const home = join(work, `${entry.system.name}-${i}`)
        keep(entry, await round(entry.system, chosen, home, base))
      }
    }
  } finally {
    progress("")
    rmSync(work, { recursive: true, force: true })
  }
  report(measured, chosen, values.json)
}

function report(
  measured: readonly Measured[],
  chosen: readonly Row[],
  jsonFile: string | undefined,
): void {
  const machine = `${cpus().length} cores (${cpus()[0]?.model ?? "?"}), Linux ${release()}, Node.js ${process.version}`
  const medians = measured.map(({ system, figures, use }) => ({
    name: system.name,
    note: system.note,
    figures: Object.fromEntries([...figures].map(([name, all]) => [name, median(all)])),
    cpuSeconds: median(use.map(({ cpuSeconds }) => cpuSeconds)),
    peakRss: median(use.map(({ peakRss }) => peakRss)),
  }))
  process.stdout.write(`${machine}\n\n${table(medians, chosen)}`)
  if (jsonFile !== undefined)
    writeFileSync(jsonFile, `${JSON.stringify({ machine, systems: medians }, undefined, 2)}\n`)
}

if (import.meta.main) await benchFilesystems(process.argv.slice(2))
