/**
 * The volume's filesystem without a mount: microseconds of CPU for each operation, in user and system. This is what the
 * FUSE loop adds to. `node bench/volume-fs.ts [--files N]`
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import type { ByteString } from "../src/bytes/index.ts"
import { createStore, NodeDisk, newAttributes, openVolume } from "../src/volume/index.ts"

const { values } = parseArgs({ options: { files: { type: "string", default: "10000" } } })
const count = Number(values.files)
const folder = mkdtempSync(join(tmpdir(), "coffer-bench-"))
const directory = join(folder, "volume")
const key = new Uint8Array(32).fill(7)
const caller = { uid: 0, gid: 0, pid: 1, umask: 0o22 }
const completion = { waiting: true, done: () => undefined }
const out = newAttributes()
const buffer = Buffer.alloc(1 << 20, 7)

function randomBlock(): number {
  return Math.floor(Math.random() * 131_072) * 4096
}

function measure(what: string, times: number, operation: (i: number) => number): void {
  const before = process.cpuUsage()
  for (let i = 0; i < times; i += 1) {
    const result = operation(i)
    if (result < 0) throw new Error(`${what}: errno ${result}`)
  }
  const { user, system } = process.cpuUsage(before)
  const each = (value: number) => (value / times).toFixed(2).padStart(9)
  console.log(`| ${what.padEnd(24)} | ${each(user)} | ${each(system)} |`)
}

try {
  createStore({ disk: new NodeDisk(directory), key, protection: "encrypted" }).store.close()
  const fs = openVolume({ directory, key }, (error) => console.error(error))
  const names = Array.from({ length: count }, (_, i) => `file-${i}.txt` as ByteString)
  const renamed = names.map((name) => `r${name}` as ByteString)
  const files: number[] = []
  const commit = () => fs.fsync(1, false, completion)
  for (const round of ["cold", "warm"]) {
    console.log(`\n| ${round.padEnd(24)} | user (µs) | system (µs) |\n|---|---|---|`)
    fs.mkdir(1, round as ByteString, 0o755, caller, out)
    const parent = out.inode
    measure("create and write 4 KiB", count, (i) => {
      fs.mknod(parent, names[i] ?? ("" as ByteString), 0o100644, 0, caller, out)
      files[i] = out.inode
      return fs.write(out.inode, 0, buffer, 0, 4096, false)
    })
    measure("commit all", 1, commit)
    measure("look up", count, (i) => fs.lookup(parent, names[i] ?? ("" as ByteString), out))
    measure("getattr", count, (i) => fs.getattr(files[i] ?? 0, out))
    measure("read 4 KiB", count, (i) => fs.read(files[i] ?? 0, 0, 4096, buffer, 0))
    measure("rename", count, (i) =>
      fs.rename(
        parent,
        names[i] ?? ("" as ByteString),
        parent,
        renamed[i] ?? ("" as ByteString),
        0,
      ),
    )
    measure("unlink and forget", count, (i) => {
      const result = fs.unlink(parent, renamed[i] ?? ("" as ByteString))
      fs.forget(files[i] ?? 0)
      return result
    })
    fs.mknod(parent, "big" as ByteString, 0o100644, 0, caller, out)
    const big = out.inode
    measure("write 1 MiB", 512, (i) => fs.write(big, i << 20, buffer, 0, 1 << 20, false))
    measure("fsync of 512 MiB", 1, commit)
    measure("read 1 MiB", 512, (i) => fs.read(big, i << 20, 1 << 20, buffer, 0))
    measure("read 4 KiB anywhere", 20_000, () => fs.read(big, randomBlock(), 4096, buffer, 0))
    measure("write 4 KiB anywhere", 20_000, () =>
      fs.write(big, randomBlock(), buffer, 0, 4096, false),
    )
    measure("write 4 KiB and fsync", 100, () => {
      fs.write(big, randomBlock(), buffer, 0, 4096, false)
      return commit()
    })
    fs.unlink(parent, "big" as ByteString)
    fs.forget(big)
    while (fs.tick(performance.now()) === 0);
  }
  fs.destroy()
} finally {
  rmSync(folder, { recursive: true })
}
