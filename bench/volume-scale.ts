/**
 * The volume's filesystem at its size, without a mount: microseconds of CPU, user and system, of operations at random files of
 * many, beside the same at few. `node bench/volume-scale.ts [--files N] [--few N] [--count N] [--only few|many] [--keep DIR]`
 *
 * `--keep DIR` leaves the volumes there and uses them again: to look at the same files with other code.
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import type { ByteString } from "../src/bytes/index.ts"
import {
  createStore,
  NodeDisk,
  newAttributes,
  openVolume,
  type VolumeFileSystem,
} from "../src/volume/index.ts"

const { values } = parseArgs({
  options: {
    files: { type: "string", default: "1000000" },
    few: { type: "string", default: "1000" },
    count: { type: "string", default: "20000" },
    only: { type: "string" },
    keep: { type: "string" },
  },
})
const count = Number(values.count)
const perDirectory = 1000
const key = new Uint8Array(32).fill(7)
const caller = { uid: 1000, gid: 1000, pid: 1, umask: 0o22 }
const completion = { waiting: true, done: () => undefined }
const out = newAttributes()
const block = Buffer.alloc(4096, 7)
const whole = Buffer.alloc(8192)
const chunk = Buffer.alloc(1 << 20)
const noChange = {
  mode: undefined,
  uid: undefined,
  gid: undefined,
  size: undefined,
  atime: undefined,
  mtime: undefined,
  ctime: undefined,
  killPriv: false,
}
const operations = ["stat", "read", "overwrite", "create", "rename", "unlink"] as const
type Costs = Map<string, number>

/** Without Math.random: each run looks at the same files. */
function seeded(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 4294967296) * below)
  }
}

function must(what: string, result: number): void {
  if (result < 0) throw new Error(`${what}: errno ${result}`)
}

function nameOf(i: number): ByteString {
  return `file-${i}.txt` as ByteString
}

/** As a program's writes come from the kernel: the times are those of its clock, with the data. */
function write(fs: VolumeFileSystem, inode: number, size: number): void {
  must("write", fs.write(inode, 0, block, 0, size, false))
  const now = Date.now()
  const time = { seconds: Math.floor(now / 1000), nanoseconds: (now % 1000) * 1e6 }
  must("setattr", fs.setattr(inode, { ...noChange, mtime: time, ctime: time }, out))
}

function create(fs: VolumeFileSystem, directory: number, name: ByteString, size: number): void {
  must("mknod", fs.mknod(directory, name, 0o100644, 0, caller, out))
  write(fs, out.inode, size)
}

/** CPU time of this thread and its helpers in microseconds. */
function cpuOf(work: () => void): number {
  const before = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(before)
  return user + system
}

function fill(fs: VolumeFileSystem, files: number): void {
  let directory = 1
  for (let i = 0; i < files; i += 1) {
    if (i % perDirectory === 0) {
      must("mkdir", fs.mkdir(1, `d${i}` as ByteString, 0o755, caller, out))
      directory = out.inode
    }
    create(fs, directory, nameOf(i), i % 10 === 0 ? 4096 : 700)
    if (i % 50 === 0) fs.tick(performance.now())
  }
}

/** What one volume's operations cost. Each takes files at random; those that are made, renamed and removed have directories at random. */
class Operations {
  readonly #fs: VolumeFileSystem
  readonly #files: number
  readonly #random: (below: number) => number
  readonly #directories: number[] = []

  constructor(fs: VolumeFileSystem, files: number) {
    this.#fs = fs
    this.#files = files
    this.#random = seeded(files)
    for (let i = 0; i < files; i += perDirectory) {
      must("lookup", fs.lookup(1, `d${i}` as ByteString, out))
      this.#directories.push(out.inode)
    }
  }

  /** Leaves the attributes of any file in `out`. */
  stat(): void {
    const i = this.#random(this.#files)
    const directory = this.#directories[Math.floor(i / perDirectory)] ?? 0
    must("lookup", this.#fs.lookup(directory, nameOf(i), out))
  }

  read(): void {
    this.stat()
    must("read", this.#fs.read(out.inode, 0, 4096, whole, 0))
  }

  overwrite(): void {
    this.stat()
    must("truncate", this.#fs.setattr(out.inode, { ...noChange, size: 0 }, out))
    write(this.#fs, out.inode, 4096)
  }

  #directoryOf(i: number): number {
    return this.#directories[(i * 7919) % this.#directories.length] ?? 0
  }

  create(i: number): void {
    const directory = this.#directoryOf(i)
    if (this.#fs.lookup(directory, `new-${i}` as ByteString, out) === 0) throw new Error("exists")
    create(this.#fs, directory, `new-${i}` as ByteString, 4096)
  }

  rename(i: number): void {
    const directory = this.#directoryOf(i)
    const [from, to] = [`new-${i}` as ByteString, `newer-${i}` as ByteString]
    must("lookup", this.#fs.lookup(directory, from, out))
    if (this.#fs.lookup(directory, to, out) === 0) throw new Error("exists")
    must("rename", this.#fs.rename(directory, from, directory, to, 0))
  }

  unlink(i: number): void {
    const directory = this.#directoryOf(i)
    const name = `newer-${i}` as ByteString
    must("lookup", this.#fs.lookup(directory, name, out))
    must("unlink", this.#fs.unlink(directory, name))
    this.#fs.forget(out.inode)
  }
}

/** Each operation's share of the commit and the checkpoints that it leads to is in its cost. */
function measure(fs: VolumeFileSystem, files: number): Costs {
  const costs: Costs = new Map()
  const all = new Operations(fs, files)
  for (let i = 0; i < 3 * count; i += 1) all.stat()
  const { cache } = fs.core.catalog.tree
  for (const name of operations) {
    const loads = cache.loads
    const cpu = cpuOf(() => {
      for (let i = 0; i < count; i += 1) {
        all[name](i)
        if (i % 50 === 0) fs.tick(performance.now())
      }
      if (name !== "stat" && name !== "read") fs.fsync(1, false, completion)
    })
    costs.set(name, cpu / count)
    costs.set(`${name} loads`, (cache.loads - loads) / count)
  }
  return costs
}

/** Segments stand in the disk's cache, as in a machine that has memory for it. */
function readBacking(directory: string): void {
  const folder = join(directory, "segments")
  for (const name of readdirSync(folder)) {
    const fd = openSync(join(folder, name), "r")
    while (readSync(fd, chunk) > 0);
    closeSync(fd)
  }
}

function costsAt(folder: string, files: number): Costs {
  const directory = join(folder, `volume-${files}`)
  const open = () => openVolume({ directory, key }, (error) => console.error(error))
  if (!existsSync(directory)) {
    createStore({ disk: new NodeDisk(directory), key, protection: "encrypted" }).store.close()
    const fs = open()
    const cpu = cpuOf(() => fill(fs, files))
    fs.destroy()
    console.log(`filled ${files} files: ${(cpu / files).toFixed(1)} µs each, RSS ${rss()} MiB`)
  }
  readBacking(directory)
  const fs = open()
  try {
    let index = 0
    fs.core.catalog.tree.visitPages((_segment, _offset, size) => {
      index += size
    })
    const costs = measure(fs, files)
    console.log(`${files} files: index of ${(index / 1e6).toFixed(1)} MB, RSS ${rss()} MiB`)
    return costs
  } finally {
    fs.destroy()
  }
}

function rss(): number {
  return Math.round(process.memoryUsage.rss() / 1024 / 1024)
}

const kept = values.keep
if (kept !== undefined) mkdirSync(kept, { recursive: true })
const folder = kept ?? mkdtempSync(join(tmpdir(), "coffer-bench-"))
try {
  const { only } = values
  costsAt(folder, Number(values.few)) // compiles everything; not counted
  const [few, many] = [
    only === "many" ? undefined : costsAt(folder, Number(values.few)),
    only === "few" ? undefined : costsAt(folder, Number(values.files)),
  ]
  const of = (costs: Costs | undefined, name: string) => costs?.get(name) ?? Number.NaN
  console.log(`\n| µs of CPU | ${values.few} files | ${values.files} | ratio | page loads |`)
  console.log("|---|---|---|---|---|")
  for (const name of operations) {
    const [a, b] = [of(few, name), of(many, name)]
    const loads = of(many, `${name} loads`).toFixed(2)
    console.log(
      `| ${name} | ${a.toFixed(2)} | ${b.toFixed(2)} | ${(b / a).toFixed(2)} | ${loads} |`,
    )
  }
} finally {
  if (kept === undefined) rmSync(folder, { recursive: true })
}
