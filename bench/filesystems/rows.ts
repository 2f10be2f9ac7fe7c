/** The rows of the filesystem bench. Each measures one thing on a mounted filesystem and leaves what later rows need. */
import { spawnSync } from "node:child_process"
import {
  closeSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmdirSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"

export interface Sizes {
  readonly streamSize: number
  readonly fileCount: number
  readonly rowCount: number
  readonly transactionCount: number
  readonly fioSeconds: number
  readonly randomWriteSize: number
}

export const fullSizes: Sizes = {
  streamSize: 1 << 30,
  fileCount: 10_000,
  rowCount: 200_000,
  transactionCount: 300,
  fioSeconds: 3,
  randomWriteSize: 64 << 20,
}

export const quickSizes: Sizes = {
  streamSize: 128 << 20,
  fileCount: 2_000,
  rowCount: 20_000,
  transactionCount: 50,
  fioSeconds: 2,
  randomWriteSize: 8 << 20,
}

export interface Bench {
  /** The mounted folder. */
  readonly at: string
  readonly sizes: Sizes
  /** A tar on the native disk. */
  readonly tarFile: string
}

/** What coffer is to reach in a row. */
export interface Goal {
  /** Times the best peer. */
  readonly peers: number
  /** Times the native disk, too. */
  readonly native?: number
  /** CryFS does not count: its fsync does not reach the disk. */
  readonly synced: boolean
}

export interface Row {
  readonly goal: Goal
  readonly name: string
  readonly unit: string
  /** Unmounted, caches dropped and mounted again before this row. */
  readonly cold: boolean
  /** Figures in `unit`, where more is better. */
  run(bench: Bench): number
}

/** Seconds that `work` takes. */
function time(work: () => void): number {
  const begin = performance.now()
  work()
  return (performance.now() - begin) / 1000
}

const mib = 1 << 20
const pattern = Buffer.alloc(mib)
for (let i = 0; i < pattern.length; i += 4)
  pattern.writeUInt32LE((Math.imul(i, 2654435761) ^ i) >>> 0, i)

function writeStream({ at, sizes }: Bench): number {
  const fd = openSync(join(at, "stream"), "w")
  const seconds = time(() => {
    for (let done = 0; done < sizes.streamSize; done += mib) writeSync(fd, pattern)
    fsyncSync(fd)
  })
  closeSync(fd)
  return sizes.streamSize / mib / seconds
}

function readStream({ at, sizes }: Bench): number {
  const buffer = Buffer.alloc(mib)
  const seconds = time(() => {
    const fd = openSync(join(at, "stream"), "r")
    while (readSync(fd, buffer) > 0);
    closeSync(fd)
  })
  return sizes.streamSize / mib / seconds
}

function fio(bench: Bench, args: readonly string[]): number {
  const common = [
    "--name=bench",
    `--filename=${join(bench.at, "stream")}`,
    "--bs=4k",
    "--ioengine=psync",
    "--output-format=json",
  ]
  const random = [
    "--randrepeat=1",
    "--allrandrepeat=1",
    "--invalidate=0",
    `--size=${bench.sizes.streamSize}`,
    "--group_reporting",
  ]
  const result = spawnSync("fio", [...common, ...random, ...args], { encoding: "utf8", cwd: "/" })
  if (result.status !== 0) throw new Error(`fio: ${result.stderr}`)
  const jobs = (JSON.parse(result.stdout) as { jobs: { read: FioSide; write: FioSide }[] }).jobs
  return jobs.reduce(
    (sum, { read, write }) =>
      sum +
      (read.io_bytes + write.io_bytes) / 4096 / (Math.max(read.runtime, write.runtime) / 1000),
    0,
  )
}

interface FioSide {
  readonly io_bytes: number
  /** Milliseconds. */
  readonly runtime: number
}

const perFolder = 100
const small = Buffer.alloc(4096, 0x5a)

function smallPath(at: string, i: number): string {
  return join(at, "small", `d${Math.floor(i / perFolder)}`, `file-${i}`)
}

function eachSmall({ at, sizes }: Bench, work: (path: string) => void): number {
  const seconds = time(() => {
    for (let i = 0; i < sizes.fileCount; i += 1) work(smallPath(at, i))
  })
  return sizes.fileCount / seconds
}

function createSmall(bench: Bench): number {
  const { at, sizes } = bench
  mkdirSync(join(at, "small"))
  for (let i = 0; i < sizes.fileCount; i += perFolder)
    mkdirSync(join(at, "small", `d${i / perFolder}`))
  return eachSmall(bench, (path) => writeFileSync(path, small))
}

function deleteSmall(bench: Bench): number {
  const rate = eachSmall(bench, (path) => unlinkSync(`${path}.renamed`))
  for (let i = 0; i < bench.sizes.fileCount; i += perFolder)
    rmdirSync(join(bench.at, "small", `d${i / perFolder}`))
  return rate
}

/** One run of a command per second: more is better, as in all rows. */
function command(bench: Bench, program: string, args: readonly string[], cwd = bench.at): number {
  let result = { status: null as number | null, stderr: "" }
  const seconds = time(() => {
    result = spawnSync(program, args, {
      cwd,
      encoding: "utf8",
      env: { ...process.env, ...gitEnvironment },
    })
  })
  if (result.status !== 0 && program !== "grep")
    throw new Error(`${program} ${args.join(" ")}: ${result.stderr}`)
  return 1 / seconds
}

const gitEnvironment = {
  GIT_AUTHOR_NAME: "bench",
  GIT_AUTHOR_EMAIL: "bench@localhost",
  GIT_COMMITTER_NAME: "bench",
  GIT_COMMITTER_EMAIL: "bench@localhost",
  GIT_CONFIG_NOSYSTEM: "1",
}

function gitCommit(bench: Bench): number {
  const repository = join(bench.at, "tree")
  return command(
    bench,
    "sh",
    ["-c", "git init -q . && git add -A && git commit -q -m all"],
    repository,
  )
}

function transactions({ at, sizes }: Bench, journal: "DELETE" | "WAL"): number {
  const db = new DatabaseSync(join(at, `transactions-${journal}.db`))
  db.exec(
    `PRAGMA journal_mode=${journal}; PRAGMA synchronous=FULL; CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)`,
  )
  const insert = db.prepare("INSERT INTO t (v) VALUES (?)")
  const seconds = time(() => {
    for (let i = 0; i < sizes.transactionCount; i += 1) insert.run(`value ${i}`)
  })
  db.close()
  return sizes.transactionCount / seconds
}

function insertRows({ at, sizes }: Bench): number {
  const db = new DatabaseSync(join(at, "rows.db"))
  db.exec("PRAGMA synchronous=FULL; CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
  const insert = db.prepare("INSERT INTO t (v) VALUES (?)")
  const seconds = time(() => {
    db.exec("BEGIN")
    for (let i = 0; i < sizes.rowCount; i += 1) insert.run(`value ${i} ${"x".repeat(80)}`)
    db.exec("COMMIT")
  })
  db.close()
  return sizes.rowCount / seconds
}

function scanRows({ at, sizes }: Bench): number {
  const db = new DatabaseSync(join(at, "rows.db"), { readOnly: true })
  const seconds = time(() => void db.prepare("SELECT sum(length(v)) FROM t").get())
  db.close()
  return sizes.rowCount / seconds
}

const ahead: Goal = { peers: 1, synced: false }
const twice: Goal = { peers: 2, synced: false }
const synced: Goal = { peers: 1, synced: true }
/** Where the disk sets the pace. */
const onPar: Goal = { peers: 0.95, synced: true }
const nearNative: Goal = { peers: 1, native: 0.9, synced: false }

function warm(name: string, unit: string, run: Row["run"], goal = ahead): Row {
  return { name, unit, cold: false, run, goal }
}

function cold(name: string, unit: string, run: Row["run"], goal = ahead): Row {
  return { name, unit, cold: true, run, goal }
}

export const rows: readonly Row[] = [
  warm("sequential write, fsync", "MiB/s", writeStream, synced),
  cold("sequential read, cold", "MiB/s", readStream),
  warm("sequential read, warm", "MiB/s", readStream, nearNative),
  cold("random 4 KiB read, cold, 1 job", "IOPS", (b) =>
    fio(b, ["--rw=randread", "--time_based", `--runtime=${b.sizes.fioSeconds}`]),
  ),
  cold("random 4 KiB read, cold, 4 jobs", "IOPS", (b) =>
    fio(b, ["--rw=randread", "--numjobs=4", "--time_based", `--runtime=${b.sizes.fioSeconds}`]),
  ),
  cold(
    "random 4 KiB write, one fsync",
    "IOPS",
    (b) => fio(b, ["--rw=randwrite", `--io_size=${b.sizes.randomWriteSize}`, "--end_fsync=1"]),
    { peers: 2, synced: true },
  ),
  warm(
    "random 4 KiB write, fsync each",
    "IOPS",
    (b) =>
      fio(b, ["--rw=randwrite", "--fsync=1", "--time_based", `--runtime=${b.sizes.fioSeconds}`]),
    onPar,
  ),
  warm("create 4 KiB files", "files/s", createSmall, twice),
  cold("stat files, cold", "files/s", (b) => eachSmall(b, (path) => lstatSync(path)), twice),
  warm("stat files, warm", "files/s", (b) => eachSmall(b, (path) => lstatSync(path)), twice),
  cold("read 4 KiB files, cold", "files/s", (b) => eachSmall(b, (p) => readFileSync(p)), twice),
  warm("read 4 KiB files, warm", "files/s", (b) => eachSmall(b, (p) => readFileSync(p)), {
    ...nearNative,
    peers: 2,
  }),
  warm(
    "rename files",
    "files/s",
    (b) => eachSmall(b, (path) => renameSync(path, `${path}.renamed`)),
    twice,
  ),
  warm("delete files", "files/s", deleteSmall, twice),
  warm(
    "tar extract",
    "runs/s",
    (b) => {
      mkdirSync(join(b.at, "tree"))
      return command(b, "tar", ["-xf", b.tarFile, "-C", "tree"])
    },
    twice,
  ),
  cold(
    "grep -r, cold",
    "runs/s",
    (b) => command(b, "grep", ["-r", "no such words anywhere", "tree"]),
    twice,
  ),
  warm("git add and commit", "runs/s", gitCommit, synced),
  cold("git status, cold", "runs/s", (b) =>
    command(b, "git", ["status", "--short"], join(b.at, "tree")),
  ),
  warm("git fsck", "runs/s", (b) => command(b, "git", ["fsck", "--full"], join(b.at, "tree"))),
  warm("rm -r", "runs/s", (b) => command(b, "rm", ["-r", "tree"]), twice),
  warm("SQLite FULL, rollback journal", "commits/s", (b) => transactions(b, "DELETE"), synced),
  warm("SQLite FULL, WAL", "commits/s", (b) => transactions(b, "WAL"), synced),
  warm("SQLite insert in one transaction", "rows/s", insertRows, synced),
  cold("SQLite scan, cold", "rows/s", scanRows),
]
