import { spawn, spawnSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

/** One run of a command. */
export interface Sample {
  readonly seconds: number
  /** Of all threads, user and system: what does not depend on how busy the machine is. */
  readonly cpuSeconds: number
  /** Bytes. */
  readonly peakRss: number
}

/** Runs a command; its peak memory and CPU time are what the kernel says of it while it lives. */
export async function run(command: string, ...args: readonly string[]): Promise<Sample> {
  const begin = performance.now()
  const child = spawn(command, args, { stdio: ["ignore", "ignore", "inherit"] })
  let peakRss = 0
  let cpuSeconds = 0
  const look = setInterval(() => {
    peakRss = Math.max(peakRss, peakOf(child.pid))
    cpuSeconds = Math.max(cpuSeconds, cpuOf(child.pid))
  }, 5)
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject)
    child.once("exit", resolve)
  }).finally(() => clearInterval(look))
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: exit status ${status}`)
  return { seconds: (performance.now() - begin) / 1000, cpuSeconds, peakRss }
}

/** Fields 14 and 15 of its `stat`, in ticks of 10 ms. */
function cpuOf(pid: number | undefined): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /, "")
      .split(" ")
    return (Number(fields[11]) + Number(fields[12])) / 100
  } catch {
    return 0
  }
}

function peakOf(pid: number | undefined): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8")
    return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

/** One after another. */
export function together(...samples: readonly Sample[]): Sample {
  return {
    seconds: samples.reduce((sum, { seconds }) => sum + seconds, 0),
    cpuSeconds: samples.reduce((sum, sample) => sum + sample.cpuSeconds, 0),
    peakRss: Math.max(...samples.map(({ peakRss }) => peakRss)),
  }
}

export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? 0
}

/** A bundle of its own below `folder`, so that none stays in the checkout; the words that start it. */
export function bundledCoffer(folder: string): readonly [string, ...string[]] {
  const made = join(folder, "dist")
  const build = join(import.meta.dirname, "..", "tools", "build.ts")
  const { status, stderr } = spawnSync(process.execPath, [build, made], { encoding: "utf8" })
  if (status !== 0) throw new Error(`tools/build.ts: ${stderr}`)
  // As in the checkout: without it Node.js looks through each file for what kind of module it is.
  writeFileSync(join(made, "package.json"), '{ "type": "module" }')
  return [process.execPath, "--disable-warning=ExperimentalWarning", join(made, "main.js")]
}
