/**
 * `coffer binfs create` against `mkfs.erofs` and `veritysetup format` on the same tree, in turns, medians. Coffer's file
 * is durable when it returns; the others' is not, so their time with a sync is given as well.
 * `node bench/binfs.ts [--tree DIR] [--rounds N] [--json] [--large] [--coffer COMMAND]`; without --tree a Debian with Python; --large: 2 GiB.
 */
import { spawnSync } from "node:child_process"
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { debianRootfs } from "../test/support/debian.ts"
import { median, run, type Sample, together } from "./measure.ts"

interface Row {
  readonly what: string
  readonly seconds: number
  readonly cpuSeconds: number
  readonly peakRssMiB: number
}

const { values } = parseArgs({
  options: {
    tree: { type: "string" },
    rounds: { type: "string", default: "5" },
    json: { type: "boolean", default: false },
    large: { type: "boolean", default: false },
    coffer: { type: "string", default: join(import.meta.dirname, "..", "coffer") },
  },
})

const folder = mkdtempSync(join(tmpdir(), "coffer-bench-"))
const out = join(folder, "out")
const tree = join(folder, "tree")

async function round(source: string): Promise<Readonly<Record<string, Sample>>> {
  remove()
  const ours = await run(values.coffer, "binfs", "create", source, out, "--json")
  remove()
  const image = await run("mkfs.erofs", "--quiet", out, source)
  const how = ["--no-superblock", "--salt", "-", "--hash", "sha256"]
  const hash = await run("veritysetup", "format", ...how, out, `${out}.tree`)
  const sync = await run("sync", out, `${out}.tree`)
  return {
    "coffer binfs create (durable)": ours,
    "mkfs.erofs": image,
    "veritysetup format": hash,
    "mkfs.erofs + veritysetup format": together(image, hash),
    "mkfs.erofs + veritysetup format + sync": together(image, hash, sync),
  }
}

function remove(): void {
  for (const path of [out, `${out}.tree`]) rmSync(path, { force: true })
  // What earlier rounds left to write must not slow down the next.
  spawnSync("sync")
}

function makeTree(): string {
  if (values.tree !== undefined) return values.tree
  mkdirSync(tree)
  if (values.large) {
    makeLarge()
    return tree
  }
  const tar = debianRootfs("python3")
  const made = spawnSync("tar", ["--xattrs", "--xattrs-include=*", "-xf", tar, "-C", tree])
  if (made.status !== 0) throw new Error(String(made.stderr))
  return tree
}

/** 2 GiB: 200 files of 8 MiB, 20,000 of 20 KiB, and as many names as a root filesystem has. */
function makeLarge(): void {
  const bytes = Buffer.alloc(8 << 20)
  for (let i = 0; i < bytes.length; i += 4) bytes.writeInt32LE(Math.imul(i, 2_654_435_761) | 1, i)
  for (let i = 0; i < 200; i += 1) write(join(tree, `large-${i}`), bytes, i)
  for (let i = 0; i < 200; i += 1) {
    const below = join(tree, `folder-${i}`)
    mkdirSync(below)
    for (let n = 0; n < 100; n += 1) write(join(below, `file-${n}`), bytes.subarray(0, 20_000), n)
  }
}

function write(path: string, bytes: Buffer, seed: number): void {
  bytes.writeInt32LE(seed, 0)
  const fd = openSync(path, "w")
  writeSync(fd, bytes)
  closeSync(fd)
}

async function main(): Promise<void> {
  const source = makeTree()
  if (!existsSync(source)) throw new Error(`no tree at ${source}`)
  await round(source)
  const rounds: Readonly<Record<string, Sample>>[] = []
  for (let i = 0; i < Number(values.rounds); i += 1) rounds.push(await round(source))
  const rows = Object.keys(rounds[0] ?? {}).map((what): Row => {
    const samples = rounds.flatMap((found) => found[what] ?? [])
    return {
      what,
      seconds: median(samples.map(({ seconds }) => seconds)),
      cpuSeconds: median(samples.map((sample) => sample.cpuSeconds)),
      peakRssMiB: Math.max(...samples.map(({ peakRss }) => peakRss)) / (1 << 20),
    }
  })
  if (values.json) console.log(JSON.stringify({ suite: "binfs", rounds: rounds.length, rows }))
  else report(rows)
}

function report(rows: readonly Row[]): void {
  const [ours] = rows
  console.log("| what | seconds, median | ratio | CPU seconds | peak RSS, MiB |")
  console.log("| --- | --- | --- | --- | --- |")
  for (const { what, seconds, cpuSeconds, peakRssMiB } of rows) {
    const ratio = (seconds / (ours?.seconds ?? 1)).toFixed(2)
    const figures = [seconds.toFixed(3), ratio, cpuSeconds.toFixed(2), peakRssMiB.toFixed(0)]
    console.log(`| ${[what, ...figures].join(" | ")} |`)
  }
}

try {
  await main()
} finally {
  rmSync(folder, { recursive: true, force: true })
}
