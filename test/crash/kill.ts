import assert from "node:assert/strict"
import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeSync,
} from "node:fs"
import { join } from "node:path"
import { VolumeDaemon } from "../support/volume-daemon.ts"
import { seeded } from "./recording-disk.ts"

/** Content that names its file and version, of a length that both decide. */
function contentOf(file: number, version: number): Buffer {
  return Buffer.from(`${file}:${version};`.repeat(1 + ((file * 7919 + version * 104_729) % 9000)))
}

/** Writes, overwrites, unlinks, with fsync; `kept` has what was acknowledged: a file's version, 0 for none. */
function load(mount: string, kept: Map<number, number>, random: () => number, steps: number): void {
  for (let step = 0; step < steps; step += 1) {
    const file = Math.floor(random() * 40)
    const name = join(mount, `f${file}`)
    const version = (kept.get(file) ?? 0) + 1
    const fd = openSync(`${name}.new`, "w")
    writeSync(fd, contentOf(file, version))
    fsyncSync(fd)
    closeSync(fd)
    renameSync(`${name}.new`, name)
    const folder = openSync(mount, "r")
    fsyncSync(folder)
    closeSync(folder)
    kept.set(file, version)
    if (step % 7 === 0) writeUnsynced(mount, step)
  }
}

// Never acknowledged, so it may be there or not.
function writeUnsynced(mount: string, step: number): void {
  const fd = openSync(join(mount, `loose${step % 5}`), "w")
  writeSync(fd, Buffer.alloc(200_000, step))
  closeSync(fd)
  if (step % 2 === 0) unlinkSync(join(mount, `loose${step % 5}`))
}

/**
 * Mounts, writes, kills the daemon with SIGKILL in the middle of its work, and mounts again, `count` times. Each time all that was
 * acknowledged is there, and nothing looks like tampering.
 */
export async function killRounds(count: number, pinned: boolean, seed: number): Promise<void> {
  const daemon = await VolumeDaemon.create({ pinned })
  const kept = new Map<number, number>()
  const random = seeded(seed)
  try {
    for (let round = 0; round < count; round += 1) {
      await daemon.start()
      checkKept(daemon.mount, kept)
      load(daemon.mount, kept, random, 5 + Math.floor(random() * 20))
      writeUnsynced(daemon.mount, round)
      await daemon.kill()
      daemon.checkWhole()
    }
  } finally {
    await daemon.end()
  }
}

function checkKept(mount: string, kept: ReadonlyMap<number, number>): void {
  for (const [file, version] of kept)
    assert.ok(
      readFileSync(join(mount, `f${file}`)).equals(contentOf(file, version)),
      `file ${file}, version ${version}`,
    )
}
