/**
 * Load for a mounted volume until its daemon is killed: `MOUNT SEED`, versions so far as JSON on stdin. Replaces files, with
 * fsync of file and directory, and prints `FILE VERSION` when a version is acknowledged; beside that it writes, overwrites and
 * unlinks what is never synced.
 */
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
import { contentOf } from "../crash/kill.ts"
import { seeded } from "../crash/recording-disk.ts"

const [mount = "", seed = "1"] = process.argv.slice(2)
const random = seeded(Number(seed))
const versions = new Map(JSON.parse(readFileSync(0, "utf8")) as [number, number][])

function unsynced(step: number): void {
  const name = join(mount, `loose${step % 5}`)
  const fd = openSync(name, "w")
  writeSync(fd, Buffer.alloc(200_000, step))
  closeSync(fd)
  if (step % 2 === 0) unlinkSync(name)
}

function replace(file: number, version: number): void {
  const name = join(mount, `f${file}`)
  const fd = openSync(`${name}.new`, "w")
  writeSync(fd, contentOf(file, version))
  fsyncSync(fd)
  closeSync(fd)
  renameSync(`${name}.new`, name)
  const folder = openSync(mount, "r")
  fsyncSync(folder)
  closeSync(folder)
}

for (let step = 0; ; step += 1) {
  const file = Math.floor(random() * 40)
  const version = (versions.get(file) ?? 0) + 1
  replace(file, version)
  versions.set(file, version)
  writeSync(1, `${file} ${version}\n`)
  if (step % 3 === 0) unsynced(step)
}
