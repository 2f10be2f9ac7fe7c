/**
 * `npm run bench -- filesystems`: native disk, coffer and its peers in turn, one table of medians and ratios to native.
 *
 *   --quick            small sizes, for development
 *   --rounds N         default 3; each round runs every filesystem once, so that drift of the machine hits all
 *   --minutes N        default 20: a round that would not end in time is not begun, and after it no filesystem
 *   --only a,b         these filesystems
 *   --without a,b      all but these; CryFS is the slowest
 *   --rows text        rows whose name contains the text
 *   --dir DIR          a folder on the disk to measure, default /var/tmp
 *   --json FILE        the figures, also as JSON
 */
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { cpus, loadavg, release } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { median, table, verdicts, verdictTable } from "./report.ts"
import { type Bench, fullSizes, quickSizes, type Row, rows } from "./rows.ts"
import { type DaemonUse, daemonUse, type System, systems } from "./systems.ts"

/** Figures by row name, one for each round. */
type Figures = Map<string, number[]>

interface Measured {
  readonly system: System
  readonly figures: Figures
  readonly use: DaemonUse[]
}

/** Nobody works in the very millisecond after a mount: each filesystem, the peers too, is left alone for two seconds. */
function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 2000))
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
  await settle()
  try {
    for (const row of chosen) {
      if (row.cold) {
        await leave()
        dropCaches()
        at = await system.mount(home)
        await settle()
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
      minutes: { type: "string", default: "20" },
      only: { type: "string" },
      without: { type: "string" },
      rows: { type: "string", default: "" },
      dir: { type: "string", default: "/var/tmp" },
      json: { type: "string" },
    },
  })
  const measured = chosenSystems(values.only, values.without).map(
    (system): Measured => ({ system, figures: new Map(), use: [] }),
  )
  const chosen = rows.filter((row) => row.name.includes(values.rows))
  const work = mkdtempSync(join(values.dir, "coffer-bench-"))
  try {
    const tarFile = join(work, "tree.tar")
    makeTar(tarFile)
    const base = { sizes: values.quick ? quickSizes : fullSizes, tarFile }
    const end = performance.now() + Number(values.minutes) * 60_000
    let longest = 0
    for (let i = 0; i < Number(values.rounds) && performance.now() + longest < end; i += 1) {
      const begin = performance.now()
      await oneRound(i, measured, chosen, work, base, end)
      longest = Math.max(longest, performance.now() - begin)
    }
  } finally {
    progress("")
    rmSync(work, { recursive: true, force: true })
  }
  report(measured, chosen, values.json)
}

/** Each filesystem once, as long as there is time. */
async function oneRound(
  i: number,
  measured: readonly Measured[],
  chosen: readonly Row[],
  work: string,
  base: Omit<Bench, "at">,
  end: number,
): Promise<void> {
  for (const entry of measured) {
    const { system } = entry
    if (performance.now() > end)
      console.error(`bench: the time is over, so round ${i + 1} is without ${system.name}`)
    else keep(entry, await round(system, chosen, join(work, `${system.name}-${i}`), base))
  }
}

/** Unless it is named, `coffer-nopin` is left out: `coffer-periodic` is as fast and keeps more. */
function chosenSystems(only: string | undefined, without = ""): System[] {
  const wanted = only?.split(",")
  const unwanted = ["coffer-nopin", ...without.split(",")]
  const chosen = systems.filter(({ name }) => wanted?.includes(name) ?? !unwanted.includes(name))
  for (const { name, absent } of chosen)
    if (absent !== undefined) console.error(`bench: not measured: ${name}: ${absent}`)
  return chosen.filter(({ absent }) => absent === undefined)
}

function report(
  measured: readonly Measured[],
  chosen: readonly Row[],
  jsonFile: string | undefined,
): void {
  const machine = `${cpus().length} cores (${cpus()[0]?.model ?? "?"}), Linux ${release()}, Node.js ${process.version}`
  const rounds = Math.max(0, ...measured.map(({ use }) => use.length))
  const load = loadavg()
    .map((value) => value.toFixed(1))
    .join(", ")
  const medians = measured.map(({ system, figures, use }) => ({
    name: system.name,
    note: system.note,
    figures: Object.fromEntries([...figures].map(([name, all]) => [name, median(all)])),
    cpuSeconds: median(use.map(({ cpuSeconds }) => cpuSeconds)),
    peakRss: median(use.map(({ peakRss }) => peakRss)),
  }))
  const judged = verdicts(medians, chosen)
  const head = `${machine}, load at the end ${load}, medians of ${rounds}`
  process.stdout.write(`${head}\n\n${table(medians, chosen)}\n${verdictTable(judged)}`)
  if (jsonFile === undefined) return
  const all = { machine, rounds, load, systems: medians, verdicts: judged }
  writeFileSync(jsonFile, `${JSON.stringify(all, undefined, 2)}\n`)
}

if (import.meta.main) await benchFilesystems(process.argv.slice(2))
