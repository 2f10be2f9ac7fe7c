import assert from "node:assert/strict"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

const root = new URL("../..", import.meta.url).pathname

/** Why `coffer run` cannot work here, or false. */
export function lacksRun(): string | false {
  if (process.getuid?.() !== 0) return "coffer run needs root"
  if (!existsSync("/dev/fuse")) return "no /dev/fuse here"
  return spawnSync("runc", ["--version"]).status === 0 ? false : "no runc here"
}

/** One `coffer run`, and what its service has said so far. */
export class Run {
  readonly child: ChildProcess
  stdout = ""
  stderr = ""
  readonly #exit: Promise<unknown>

  constructor(folder: string, words: readonly string[]) {
    this.child = spawn(join(root, "coffer"), ["run", ...words], {
      env: { ...process.env, COFFER_FROM_SOURCE: "1", XDG_DATA_HOME: join(folder, "xdg") },
      stdio: ["ignore", "pipe", "pipe"],
    })
    this.child.stdout?.on("data", (chunk: Buffer) => (this.stdout += String(chunk)))
    this.child.stderr?.on("data", (chunk: Buffer) => (this.stderr += String(chunk)))
    this.#exit = once(this.child, "exit")
  }

  async status(): Promise<number | null> {
    await this.#exit
    return this.child.exitCode
  }

  /** Waits for what `pattern` matches on standard output. */
  async says(pattern: RegExp): Promise<void> {
    for (let i = 0; i < 600; i += 1) {
      if (pattern.test(this.stdout)) return
      if (this.child.exitCode !== null) break
      await sleep(50)
    }
    assert.fail(`wanted ${String(pattern)}, found ${this.stdout}${this.stderr}`)
  }

  get acked(): number {
    return Number(/.*acked (\d+)\n/s.exec(this.stdout)?.[1] ?? 0)
  }
}
