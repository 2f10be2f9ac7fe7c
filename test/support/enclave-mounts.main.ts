/**
 * A shield that makes an enclave's mounts in the folder argv[2], from filesystems in memory, and runs a shell there in place of
 * runc. argv[3] is a `MountsCase`. Prints what came of it as one line of JSON.
 */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, readdirSync, readFileSync, readlinkSync, rmdirSync, statSync } from "node:fs"
import { mountFailed, withMounts } from "../../src/runtime/enclave-mounts.ts"
import { ServedMount } from "../../src/shield/index.ts"
import type { Death } from "./dying-mount.worker.ts"

export interface MountsCase {
  /** What the container does. */
  readonly script?: string
  /** The thread that serves this one dies while the mounts are made. */
  readonly dies?: "root" | "data"
  readonly death?: Death
  /** There is no folder to mount the volume on. */
  readonly noTarget?: boolean
  /** The shield is killed when its mounts are there and its container is not, or while its threads are asked for an answer. */
  readonly killed?: "before" | "meanwhile"
  /** Its working directory is deleted before. */
  readonly deleted?: boolean
}

export interface MountsResult {
  readonly error?: string
  readonly stdout: string
  /** Mounts below the folder that threads of this process see while the container runs. */
  readonly seen: readonly string[]
  /** How many mount namespaces its threads are in. */
  readonly namespaces: number
  /** What the thread that mounts has for its working directory and its root, and its mount namespace: before and afterwards. */
  readonly before: readonly string[]
  readonly after: readonly string[]
}

const [place = "", wanted = "{}"] = process.argv.slice(2)
const how = JSON.parse(wanted) as MountsCase

function worker(name: string): URL {
  return new URL(`./${name}.worker.ts`, import.meta.url)
}

function where(): string[] {
  const folders = [".", "/", place].map((path) => {
    const { dev, ino } = statSync(path)
    return `${path} is ${dev}:${ino}`
  })
  return [...folders, ...["cwd", "ns/mnt"].map((name) => readlinkSync(`/proc/thread-self/${name}`))]
}

/** What each thread has in /proc. */
function ofThreads(read: (task: string) => string): string[] {
  return readdirSync("/proc/self/task").flatMap((task) => {
    try {
      return [read(`/proc/self/task/${task}`)]
    } catch {
      return [] // it has ended
    }
  })
}

function seen(): string[] {
  const texts = ofThreads((task) => readFileSync(`${task}/mountinfo`, "utf8"))
  return texts.flatMap((text) => text.split("\n")).filter((line) => line.includes(`${place}/`))
}

async function run(): Promise<MountsResult> {
  for (const name of ["root", "lower", "upper", "data"]) mkdirSync(`${place}/${name}`)
  const served = await Promise.all(
    ["root", "data"].map((name) =>
      how.dies === name
        ? ServedMount.open({ worker: worker("dying-mount"), request: how.death })
        : ServedMount.open({ worker: worker("memory-mount"), request: {} }),
    ),
  )
  if (how.deleted === true) {
    mkdirSync(`${place}/gone`)
    process.chdir(`${place}/gone`)
    rmdirSync(`${place}/gone`)
  }
  const owner = { uid: 0, gid: 0, mode: 0o755 }
  const mounts = served.map((one, i) => ({
    served: one,
    target: i === 0 ? "" : `${place}/${how.noTarget === true ? "nowhere" : "data"}`,
    flags: 0,
  }))
  const before = where()
  let stdout = ""
  const result = (more: Partial<MountsResult>): MountsResult => ({
    stdout,
    seen: seen(),
    namespaces: new Set(ofThreads((task) => readlinkSync(`${task}/ns/mnt`))).size,
    before,
    after: where(),
    ...more,
  })
  try {
    const child = withMounts(
      {
        place,
        mounts,
        upper: { size: 1 << 20, owner },
        layers: [],
        scratches: [],
        measured: undefined,
        noswap: false,
        nested: false,
      },
      ["sh", "-c", how.script ?? "true", "sh", place],
      ([program = "", ...words]) => {
        if (how.killed === "before") process.kill(process.pid, "SIGKILL")
        return spawn(program, words, { stdio: ["pipe", "pipe", "inherit"] })
      },
    )
    child.stdout.on("data", (data: Buffer) => (stdout += data.toString()))
    const begun = result({})
    child.stdin.on("error", () => undefined)
    child.stdin.end("go\n")
    if (how.killed === "meanwhile") setTimeout(() => process.kill(process.pid, "SIGKILL"), 500)
    const [status] = (await once(child, "close")) as [number | null]
    await Promise.all(served.map((one) => one.ended))
    const log = status === mountFailed ? readFileSync(`${place}/mount.log`, "utf8") : undefined
    return { ...begun, stdout, ...(log === undefined ? {} : { error: log }) }
  } catch (error) {
    for (const one of served) one.stop()
    await Promise.allSettled(served.map((one) => one.abandon()))
    return result({ error: String(error) })
  }
}

process.stdout.write(`${JSON.stringify(await run())}\n`)
