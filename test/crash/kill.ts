import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { VolumeDaemon } from "../support/volume-daemon.ts"
import { seeded } from "./recording-disk.ts"

const program = join(import.meta.dirname, "../support/volume-load.main.ts")

/** Content that names its file and version, of a length that both decide. */
export function contentOf(file: number, version: number): Buffer {
  return Buffer.from(`${file}:${version};`.repeat(1 + ((file * 7919 + version * 104_729) % 9000)))
}

/** What was acknowledged: a file's version. */
type Kept = Map<number, number>

/** Load from a process of its own; the daemon is killed while requests are under way. */
async function killUnderLoad(daemon: VolumeDaemon, kept: Kept, random: () => number) {
  const node = ["--disable-warning=ExperimentalWarning", program]
  const seed = String(Math.floor(random() * 2 ** 31))
  const child = spawn(process.execPath, [...node, daemon.mount, seed], {
    stdio: ["pipe", "pipe", "ignore"],
  })
  let text = ""
  const first = Promise.withResolvers<void>()
  child.stdout.on("data", (bytes: Buffer) => {
    text += bytes.toString()
    first.resolve()
  })
  const ended = new Promise<void>((resolve) => {
    child.once("close", () => resolve())
  })
  child.stdin.end(JSON.stringify([...kept]))
  await Promise.race([first.promise, ended])
  await sleep(random() * 400)
  await daemon.kill()
  await ended // its next call finds no filesystem
  const lines = text.slice(0, text.lastIndexOf("\n") + 1).split("\n")
  for (const line of lines.slice(0, -1)) {
    const [file = 0, version = 0] = line.split(" ").map(Number)
    kept.set(file, version)
  }
  return lines.length - 1
}

/** Each file is at the version that was acknowledged, or whole at the one that was under way. */
function checkKept(mount: string, kept: Kept): void {
  for (let file = 0; file < 40; file += 1) {
    const version = kept.get(file) ?? 0
    const name = join(mount, `f${file}`)
    if (version === 0 && !existsSync(name)) continue
    const content = readFileSync(name)
    const found = [version, version + 1].find((one) => content.equals(contentOf(file, one)))
    assert.ok(found !== undefined && found > 0, `file ${file}, version ${version}`)
    kept.set(file, found)
  }
}

/**
 * Mounts, writes, kills the daemon with SIGKILL in the middle of its work, and mounts again, `count` times. Each time all that was
 * acknowledged is there, and nothing looks like tampering.
 */
export async function killRounds(count: number, pinned: boolean, seed: number): Promise<void> {
  const daemon = await VolumeDaemon.create({ pinned })
  const kept: Kept = new Map()
  const random = seeded(seed)
  let acknowledged = 0
  try {
    for (let round = 0; round < count; round += 1) {
      await daemon.start()
      checkKept(daemon.mount, kept)
      acknowledged += await killUnderLoad(daemon, kept, random)
      daemon.checkWhole()
    }
    await daemon.start()
    checkKept(daemon.mount, kept)
    assert.ok(acknowledged >= count, `${acknowledged} acknowledged in ${count} rounds`)
  } finally {
    await daemon.end()
  }
}
