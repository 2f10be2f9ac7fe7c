import assert from "node:assert/strict"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { openVolume, verifyVolume } from "../../src/volume/index.ts"
import { coffer } from "../support/cli.ts"
import { seeded } from "./recording-disk.ts"

const main = join(import.meta.dirname, "../../src/cli/main.ts")

interface Place {
  readonly volume: string
  readonly mount: string
  readonly keyFile: string
  readonly pin: string | undefined
}

async function mounted({ volume, mount, keyFile, pin }: Place): Promise<ChildProcess> {
  const pinned = pin === undefined ? [] : ["--pin", pin]
  const args = ["--disable-warning=ExperimentalWarning", main, "volume", "mount", volume, mount]
  const child = spawn(process.execPath, [...args, "--key-file", keyFile, ...pinned])
  let errors = ""
  child.stderr.on("data", (bytes: Buffer) => {
    errors += bytes.toString()
  })
  await new Promise<void>((resolve, reject) => {
    child.stdout.on("data", () => resolve())
    child.once("exit", () => reject(new Error(`the mount ended: ${errors}`)))
  })
  return child
}

async function killed(child: ChildProcess, mount: string): Promise<void> {
  const gone = new Promise((resolve) => {
    child.once("exit", resolve)
  })
  child.kill("SIGKILL")
  await gone
  spawnSync("umount", ["-l", mount])
}

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
  const folder = mkdtempSync(join(tmpdir(), "coffer-kill-"))
  const place: Place = {
    volume: join(folder, "volume"),
    mount: join(folder, "mnt"),
    keyFile: join(folder, "key"),
    pin: pinned ? join(folder, "pin") : undefined,
  }
  mkdirSync(place.mount)
  await coffer("keygen", "--volume", place.keyFile)
  const pin = place.pin === undefined ? [] : ["--pin", place.pin]
  const made = await coffer("volume", "create", place.volume, "--key-file", place.keyFile, ...pin)
  assert.equal(made.code, 0, made.err)
  const kept = new Map<number, number>()
  const random = seeded(seed)
  try {
    for (let round = 0; round < count; round += 1) {
      const child = await mounted(place)
      try {
        checkKept(place.mount, kept)
        load(place.mount, kept, random, 5 + Math.floor(random() * 20))
        writeUnsynced(place.mount, round)
      } finally {
        await killed(child, place.mount)
      }
      checkWhole(place)
    }
  } finally {
    spawnSync("umount", ["-l", place.mount])
    rmSync(folder, { recursive: true })
  }
}

function checkKept(mount: string, kept: ReadonlyMap<number, number>): void {
  for (const [file, version] of kept)
    assert.ok(
      readFileSync(join(mount, `f${file}`)).equals(contentOf(file, version)),
      `file ${file}, version ${version}`,
    )
}

function checkWhole({ volume, keyFile, pin }: Place): void {
  const key = readFileSync(keyFile)
  const source = { directory: volume, key, ...(pin === undefined ? {} : { pin }) }
  const { findings } = verifyVolume(source, () => undefined)
  assert.deepEqual(
    findings.filter(({ what }) => what === "damage"),
    [],
  )
  openVolume({ ...source, readOnly: true }, (error) => assert.ifError(error)).destroy()
}
