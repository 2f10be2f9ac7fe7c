/**
 * Work in the enclave against the same work in a plain container, under podman, in turns: Python starts with 300 modules, loops,
 * HTTP requests, pgbench with 4 and with 16 clients and its data on an encrypted volume (goals as ratios: 0.97, 0.97, 0.95, 0.6). Each task measures itself,
 * so the start of the container does not count; the plain container has runc and the same disk.
 * `node bench/enclave.ts [--rounds N] [--tasks imports,loops,http,fsyncs,pgbench,pgbench16] [--json]`; the bundle is built for the run.
 */
import { spawnSync } from "node:child_process"
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { debianRootfs } from "../test/support/debian.ts"
import { layoutOfTars } from "../test/support/debian-image.ts"
import { Podman } from "../test/support/podman.ts"
import { bundledCoffer, median } from "./measure.ts"

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    tasks: { type: "string", default: "imports,loops,http,fsyncs,pgbench,pgbench16" },
    json: { type: "boolean", default: false },
  },
})

const goals: Readonly<Record<string, number>> = {
  imports: 0.97,
  loops: 0.97,
  http: 0.95,
  fsyncs: 0.6,
  pgbench: 0.6,
  pgbench16: 0.6,
}
const folder = mkdtempSync(join(tmpdir(), "cbench-"))
const at = (...names: readonly string[]) => join(folder, ...names)
const coffer = bundledCoffer(folder)

/** The runtime with the bundle of this run, beside which it looks for it. */
function cofferOci(): string {
  const root = join(import.meta.dirname, "..")
  cpSync(join(root, "coffer-oci"), at("coffer-oci"))
  symlinkSync(join(root, "node_modules"), at("node_modules"))
  const launcher = at("launcher")
  const line = `COFFER_INSECURE_CAS_DIR='${at("cas")}' exec ${at("coffer-oci")} "$@"`
  writeFileSync(launcher, `#!/bin/sh\n${line}\n`, { mode: 0o755 })
  return launcher
}

interface Figure {
  readonly seconds?: number
  readonly perSecond?: number
  /** Of the service and its children: for fixed work it says what a busy machine's clock does not. */
  readonly cpuSeconds: number
}

interface Row {
  readonly task: string
  readonly plain: number
  readonly enclave: number
  /** More is better, in both units. */
  readonly ratio: number
  /** The plain container's CPU time over the enclave's, for tasks of fixed work. */
  readonly cpuRatio: number | null
  readonly goal: number
}

function makeImages(): void {
  mkdirSync(at("layer", "bench"), { recursive: true })
  cpSync(join(import.meta.dirname, "enclave", "driver.py"), at("layer", "bench", "driver.py"))
  spawnSync("tar", ["-cf", at("bench.tar"), "--owner=0", "--group=0", "-C", at("layer"), "bench"])
  const config = {
    Entrypoint: ["/usr/bin/python3", "/bench/driver.py"],
    Env: ["PATH=/usr/bin:/bin"],
  }
  layoutOfTars([debianRootfs("python3-postgresql"), at("bench.tar")], at("image"), config)
  writeFileSync(
    at("coffer.yaml"),
    `version: 1
name: bench
service: { args: { set: [/bench/driver.py], allow: [imports, loops, http, fsyncs, pgbench, pgbench16] } }
regions:
  - { path: /data, protection: encrypted, lifetime: persistent, volume: data }
`,
  )
  const [program, ...words] = coffer
  const images = [`oci:${at("image")}:1`, `oci:${at("protected")}:1`]
  const made = spawnSync(program, [...words, "protect", "-f", at("coffer.yaml"), ...images], {
    encoding: "utf8",
  })
  if (made.status !== 0) throw new Error(made.stderr)
}

/** A new directory for /data, so that each run begins the same. */
function runTask(engine: Podman, image: string, task: string, data: string): Figure {
  rmSync(data, { recursive: true, force: true })
  mkdirSync(data)
  chmodSync(data, 0o755)
  const options = ["--rm", "--network=host", "-v", `${data}:/data`]
  const [program = "", ...words] = engine
    .command("run", ...options, image, task)
    .filter((word) => word !== "--network=none")
  const done = spawnSync(program, words, { encoding: "utf8", timeout: 300_000 })
  if (done.status !== 0) throw new Error(`${task}: ${done.stdout}${done.stderr}`)
  const figure = JSON.parse(done.stdout) as Figure
  console.error(`${image} ${task} ${done.stdout.trim()}`)
  return figure
}

function main(): void {
  makeImages()
  const plain = new Podman(at("p"), {}, "runc")
  const enclave = new Podman(at("e"), {}, cofferOci())
  try {
    plain.load(`oci:${at("image")}:1`, "localhost/plain:1")
    enclave.load(`oci:${at("protected")}:1`, "localhost/enclave:1")
    const rows = values.tasks.split(",").map((task): Row => {
      const figures = { plain: [] as Figure[], enclave: [] as Figure[] }
      for (let i = 0; i < Number(values.rounds); i += 1) {
        figures.plain.push(runTask(plain, "localhost/plain:1", task, at("plain-data")))
        rmSync(at("cas"), { recursive: true, force: true })
        figures.enclave.push(runTask(enclave, "localhost/enclave:1", task, at("enclave-data")))
      }
      return rowOf(task, figures.plain, figures.enclave)
    })
    if (values.json) console.log(JSON.stringify({ suite: "enclave", rows }))
    else print(rows)
  } finally {
    enclave.close()
    plain.close()
  }
}

function rowOf(task: string, plain: readonly Figure[], enclave: readonly Figure[]): Row {
  const rate = ({ seconds, perSecond }: Figure) => perSecond ?? 1 / (seconds ?? Number.NaN)
  const [one, two] = [median(plain.map(rate)), median(enclave.map(rate))]
  const cpu = [plain, enclave].map((all) => median(all.map(({ cpuSeconds }) => cpuSeconds)))
  const fixed = plain.every(({ seconds }) => seconds !== undefined)
  const cpuRatio = fixed ? (cpu[0] ?? 0) / (cpu[1] ?? 1) : null
  return { task, plain: one, enclave: two, ratio: two / one, cpuRatio, goal: goals[task] ?? 1 }
}

function print(rows: readonly Row[]): void {
  console.log("| task, a second | plain | enclave | ratio | of CPU time | goal | met |")
  console.log("|---|---|---|---|---|---|---|")
  for (const { task, plain, enclave, ratio, cpuRatio, goal } of rows) {
    const figures = [plain, enclave, ratio].map((figure) => figure.toFixed(2))
    const cells = [task, ...figures, cpuRatio?.toFixed(2) ?? "", goal, ratio >= goal ? "yes" : "no"]
    console.log(`| ${cells.join(" | ")} |`)
  }
}

try {
  main()
} finally {
  rmSync(folder, { recursive: true, force: true })
}
