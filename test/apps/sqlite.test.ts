/** SQLite on a volume, in each of its journal modes. */
import assert from "node:assert/strict"
import { type ChildProcess, spawn } from "node:child_process"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"
import { run } from "../support/run.ts"
import { cannotServe, type VolumeDaemon, withDaemon } from "../support/volume-daemon.ts"

const program = join(import.meta.dirname, "../support/volume-sqlite.main.ts")
const node = [process.execPath, "--disable-warning=ExperimentalWarning"]

/** `memory` and `off` keep no journal on the disk: SQLite itself promises nothing for them after a kill. */
const durableModes = ["delete", "truncate", "persist", "wal"]

/** What the database holds, once SQLite has checked every page of it. */
function checked(file: string): { readonly rows: number; readonly newest: number } {
  const database = new DatabaseSync(file)
  try {
    const { integrity_check } = database.prepare("PRAGMA integrity_check").get() as {
      integrity_check: string
    }
    assert.equal(integrity_check, "ok", file)
    const of = (query: string) => Object.values(database.prepare(query).get() ?? {})[0] as number
    assert.equal(of("SELECT sum(amount) FROM account"), 200_000)
    return {
      rows: of("SELECT count(*) FROM log"),
      newest: of("SELECT coalesce(max(n), 0) FROM log"),
    }
  } finally {
    database.close()
  }
}

test("sqlite: whole after a new mount, in each journal mode", { skip: cannotServe() }, () =>
  withDaemon({}, async (daemon) => {
    const modes = [...durableModes, "memory", "off"]
    const fileOf = (mode: string) => join(daemon.mount, `${mode}.db`)
    for (const mode of modes) {
      run([...node, program, fileOf(mode), mode, "30"])
      assert.deepEqual(checked(fileOf(mode)), { rows: 30, newest: 30 })
    }
    await daemon.stop()
    await daemon.start()
    for (const mode of modes) assert.deepEqual(checked(fileOf(mode)), { rows: 30, newest: 30 })
    assert.equal(daemon.errors, "")
  }),
)

interface Running {
  readonly mode: string
  readonly file: string
  readonly child: ChildProcess
  readonly ended: Promise<unknown>
  text: string
}

function start(mode: string, file: string): Running {
  const child = spawn(process.execPath, [...node.slice(1), program, file, mode])
  const ended = new Promise((resolve) => {
    child.once("close", resolve)
  })
  const running = { mode, file, child, ended, text: "" }
  child.stdout.on("data", (bytes: Buffer) => {
    running.text += bytes.toString()
  })
  return running
}

function acknowledged({ text }: Running): number {
  return Number(text.slice(0, text.lastIndexOf("\n")).split("\n").at(-1))
}

/** Programs in all durable modes at once; after so many transactions of each, `whom` is killed. */
async function killRound(daemon: VolumeDaemon, whom: "programs" | "daemon"): Promise<void> {
  const begun = durableModes.map((mode) => start(mode, join(daemon.mount, `${mode}.db`)))
  try {
    const slow = ({ child, text }: Running) =>
      child.exitCode === null && text.split("\n").length < 20
    while (begun.some(slow)) await sleep(20)
    if (whom === "daemon") await daemon.kill()
  } finally {
    for (const { child } of begun) child.kill("SIGKILL")
    await Promise.all(begun.map(({ ended }) => ended))
  }
  if (whom === "daemon") {
    daemon.checkWhole()
    await daemon.start()
  }
  for (const running of begun) {
    const { rows, newest } = checked(running.file)
    assert.equal(rows, newest)
    const wanted = acknowledged(running)
    assert.ok(
      newest === wanted || newest === wanted + 1,
      `${running.mode}: found ${newest}, acknowledged ${wanted}, killed the ${whom}`,
    )
  }
}

test(
  "sqlite: no acknowledged transaction is lost, whoever is killed",
  { skip: cannotServe() },
  () =>
    withDaemon({}, async (daemon) => {
      for (const whom of ["daemon", "programs", "daemon"] as const) await killRound(daemon, whom)
    }),
)
