/**
 * `coffer protect` of a Debian image with Python and an application of 100 MiB, against what makes a filesystem image of it
 * with no protection: `skopeo copy`, `umoci unpack`, `mkfs.erofs`; in turns, medians. Layers as registries have them (gzip)
 * and as local storages have them (plain). Then a second `protect` after one file has changed, with the output of the first
 * there, and with decompressed layers kept (`--cache`). `node bench/protect.ts [--rounds N] [--json]`; the bundle is built for the run.
 */
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { gzipSync } from "node:zlib"
import { LayoutWriter } from "../src/oci/index.ts"
import { debianRootfs } from "../test/support/debian.ts"
import { bundledCoffer, median, run, type Sample, together } from "./measure.ts"

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    json: { type: "boolean", default: false },
  },
})
const folder = mkdtempSync(join(tmpdir(), "coffer-bench-"))
const at = (...names: readonly string[]) => join(folder, ...names)
type Stored = "gzip" | "plain"

/** An application of 2,000 files, as compressible as code is. */
function makeApplication(): string {
  const app = at("app")
  const words = readFileSync(process.execPath).subarray(0, 100 << 20)
  const size = Math.floor(words.length / 2000)
  for (let i = 0; i < 2000; i += 1) {
    const below = join(app, "app", `module-${i % 50}`)
    mkdirSync(below, { recursive: true })
    writeFileSync(join(below, `${i}.bin`), words.subarray(i * size, (i + 1) * size))
  }
  return tarOf("app", "app")
}

function tarOf(directory: string, name: string): string {
  const tar = at(`${directory}.tar`)
  const how = ["--sort=name", "--owner=0", "--group=0", "--mtime=@0"]
  const made = spawnSync("tar", [...how, "-cf", tar, "-C", at(directory), name])
  if (made.status !== 0) throw new Error(String(made.stderr))
  return tar
}

function makeLayout(directory: string, stored: Stored, tars: readonly string[]): void {
  const writer = new LayoutWriter(directory)
  const layers = tars.map((tar) => {
    const plain = readFileSync(tar)
    const type = `application/vnd.oci.image.layer.v1.tar${stored === "gzip" ? "+gzip" : ""}`
    const blob = writer.addBlob(type, (sink) => sink(stored === "gzip" ? gzipSync(plain) : plain))
    return { blob, diffId: `sha256:${createHash("sha256").update(plain).digest("hex")}` }
  })
  const config = writer.addDocument("application/vnd.oci.image.config.v1+json", {
    architecture: process.arch === "arm64" ? "arm64" : "amd64",
    os: "linux",
    config: { Entrypoint: ["/usr/bin/python3"] },
    rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
  })
  const manifest = writer.addDocument("application/vnd.oci.image.manifest.v1+json", {
    schemaVersion: 2,
    config: { ...config },
    layers: layers.map(({ blob }) => ({ ...blob })),
  })
  writer.finish(manifest, "1")
}

type Round = Readonly<Record<string, Sample>>

async function round(coffer: readonly [string, ...string[]], stored: Stored): Promise<Round> {
  const protect = (from: string, ...options: readonly string[]): Promise<Sample> => {
    const [program, ...words] = coffer
    const images = [`oci:${at(from)}:1`, `oci:${at("out")}:1`]
    return run(program, ...words, "protect", ...options, ...images)
  }
  clear()
  const ours = await protect(stored)
  spawnSync("sync")
  const second = await protect(`${stored}-changed`)
  await protect(stored, "--cache", at("layers"))
  spawnSync("sync")
  const cached = await protect(`${stored}-changed`, "--cache", at("layers"))
  clear()
  const copy = await run("skopeo", "copy", "-q", `oci:${at(stored)}:1`, `oci:${at("copy")}:1`)
  const unpack = await run("umoci", "unpack", "--image", `${at("copy")}:1`, at("bundle"))
  const erofs = await run("mkfs.erofs", "--quiet", at("erofs"), at("bundle", "rootfs"))
  const sync = await run("sync", at("erofs"))
  return {
    [`${stored}: coffer protect (durable)`]: ours,
    [`${stored}: skopeo copy + umoci unpack + mkfs.erofs + sync`]: together(
      copy,
      unpack,
      erofs,
      sync,
    ),
    [`${stored}: mkfs.erofs alone`]: erofs,
    [`${stored}: coffer protect again, one file changed`]: second,
    [`${stored}: the same with --cache`]: cached,
  }
}

function clear(): void {
  for (const name of ["out", "copy", "bundle", "erofs"])
    rmSync(at(name), { recursive: true, force: true })
  // What was left to write must not slow down the next.
  spawnSync("sync")
}

async function main(): Promise<void> {
  const base = debianRootfs("python3")
  const app = makeApplication()
  mkdirSync(at("change", "app", "module-7"), { recursive: true })
  writeFileSync(at("change", "app", "module-7", "57.bin"), "changed")
  const change = tarOf("change", "app")
  for (const stored of ["gzip", "plain"] as const) {
    makeLayout(at(stored), stored, [base, app])
    makeLayout(at(`${stored}-changed`), stored, [base, app, change])
  }
  const coffer = bundledCoffer(folder)
  process.env["NODE_COMPILE_CACHE"] = at("cache")
  const rounds: Round[] = []
  for (let i = 0; i <= Number(values.rounds); i += 1)
    rounds.push({ ...(await round(coffer, "gzip")), ...(await round(coffer, "plain")) })
  // The first warms the compile cache and the page cache.
  report(rounds.slice(1))
}

function report(rounds: readonly Round[]): void {
  const rows = Object.keys(rounds[0] ?? {}).map((what) => {
    const samples = rounds.flatMap((found) => found[what] ?? [])
    return {
      what,
      seconds: median(samples.map(({ seconds }) => seconds)),
      cpuSeconds: median(samples.map((sample) => sample.cpuSeconds)),
      peakRssMiB: Math.max(...samples.map(({ peakRss }) => peakRss)) / (1 << 20),
    }
  })
  if (values.json) {
    console.log(JSON.stringify({ suite: "protect", rounds: rounds.length, rows }))
    return
  }
  console.log("| what | seconds, median | CPU seconds | peak RSS, MiB |")
  console.log("| --- | --- | --- | --- |")
  for (const { what, seconds, cpuSeconds, peakRssMiB } of rows)
    console.log(
      `| ${[what, seconds.toFixed(2), cpuSeconds.toFixed(2), peakRssMiB.toFixed(0)].join(" | ")} |`,
    )
}

try {
  await main()
} finally {
  rmSync(folder, { recursive: true, force: true })
}
