/**
 * Start-up: from `podman run` to the first output, coffer-oci against plain runc, side by side (goal: 300 ms more at most cold,
 * 150 ms warm). A shell that says one word, without and with a volume. The bundle (`npm run build`) when there is one.
 * `node bench/start.ts [--rounds N] [--json]`.
 */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { layoutOf } from "../test/support/image.ts"
import { lacksPodman, Podman } from "../test/support/podman.ts"
import { makeTinyService, tinyRoot, volumeRegion } from "../test/support/tiny-service.ts"

const roundsAt = process.argv.indexOf("--rounds")
const rounds = roundsAt < 0 ? 9 : Number(process.argv[roundsAt + 1])
const say = "echo hello"

interface Subject {
  readonly name: string
  readonly engine: Podman
  readonly image: string
  readonly options: readonly string[]
}

interface Measured {
  readonly name: string
  readonly cold: number
  readonly warm: number
}

async function firstOutput({ engine, image, options }: Subject): Promise<number> {
  const [program = "", ...words] = engine.command("run", "--rm", ...options, image)
  const begin = performance.now()
  const child = spawn(program, words, { stdio: ["ignore", "pipe", "inherit"] })
  const ended = once(child, "exit")
  await Promise.race([once(child.stdout, "data"), ended])
  const took = performance.now() - begin
  const [status] = (await ended) as [number | null]
  if (status !== 0) throw new Error(`podman run ${image}: status ${status}`)
  return took
}

function median(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0
}

async function measure(subjects: readonly Subject[]): Promise<Measured[]> {
  const cold = subjects.map((): number[] => [])
  const warm = subjects.map((): number[] => [])
  for (let round = 0; round < rounds; round += 1)
    for (const [i, subject] of subjects.entries()) {
      writeFileSync("/proc/sys/vm/drop_caches", "3")
      cold[i]?.push(await firstOutput(subject))
      warm[i]?.push(await firstOutput(subject))
    }
  return subjects.map(({ name }, i) => ({
    name,
    cold: median(cold[i] ?? []),
    warm: median(warm[i] ?? []),
  }))
}

function print(rows: readonly Measured[]): void {
  const [base] = rows
  console.log("| podman run to first output | cold, ms | over runc | warm, ms | over runc |")
  console.log("|---|---|---|---|---|")
  for (const { name, cold, warm } of rows) {
    const numbers = [cold, cold - (base?.cold ?? 0), warm, warm - (base?.warm ?? 0)].map(Math.round)
    console.log(`| ${[name, ...numbers].join(" | ")} |`)
  }
}

async function main(): Promise<void> {
  if (lacksPodman() !== false) throw new Error(String(lacksPodman()))
  const folder = mkdtempSync(join(tmpdir(), "coffer-bench-start-"))
  const engine = new Podman(folder, { COFFER_INSECURE_CAS_DIR: join(folder, "cas") })
  const plain = new Podman(join(folder, "runc"), {}, "runc")
  try {
    const config = { Cmd: ["/bin/sh", "-c", say], Env: ["PATH=/bin"] }
    plain.load(
      layoutOf(tinyRoot({ regions: [] }), join(folder, "plain"), config),
      "localhost/plain:1",
    )
    engine.load(makeTinyService(join(folder, "sealed"), say).image, "localhost/sealed:1")
    const regions = [volumeRegion("data")]
    const withVolume = makeTinyService(join(folder, "volume"), say, { regions, name: "volume" })
    engine.load(withVolume.image, "localhost/volume:1")
    mkdirSync(join(folder, "data"))
    const rows = await measure([
      { name: "runc", engine: plain, image: "localhost/plain:1", options: [] },
      { name: "coffer-oci", engine, image: "localhost/sealed:1", options: [] },
      {
        name: "coffer-oci, a volume",
        engine,
        image: "localhost/volume:1",
        options: ["-v", `${folder}/data:/data`],
      },
    ])
    const bundled = existsSync(new URL("../dist/coffer-oci.js", import.meta.url))
    if (process.argv.includes("--json")) console.log(JSON.stringify({ bundled, rounds, rows }))
    else print(rows)
    if (!bundled) console.log("\nfrom the sources: npm run build, and measure again")
  } finally {
    engine.close()
    plain.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

await main()
