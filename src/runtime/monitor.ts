import { type ChildProcess, spawn } from "node:child_process"
import type { Writable } from "node:stream"
import { systemPath, systemTool } from "./system-tool.ts"

// The container may still be in the making: runc knows nothing of it yet, or never will.
const script = `PATH=${systemPath}
child=
while read -r word pid <&3; do
  [ "$word" != done ] || exit
  child=$pid
done
exec 3<&-
[ -z "$child" ] || kill -KILL "$child" $(cat "/proc/$child/task/$child/children")
left=50
while ! "$@" && [ $left -gt 0 ]; do
  left=$((left - 1))
  sleep 0.1
done`

/**
 * A process that kills the container when this one dies, however it dies: else a service runs on from the page cache
 * without its shield, and engines say that it is up. A shell, because it must be small and must not fail with us.
 * It is there before the container is.
 */
export class Monitor {
  readonly #child: ChildProcess
  readonly #pipe: Writable
  #done = false
  hasDied = false

  /** `kill`: the command that kills the container. `onDeath`: the monitor has died, and nobody watches any more. */
  constructor(kill: readonly string[], onDeath: () => void) {
    this.#child = spawn(systemTool("sh"), ["-c", script, "coffer-monitor", ...kill], {
      stdio: ["ignore", "ignore", "ignore", "pipe"],
      detached: true,
    })
    this.#pipe = this.#child.stdio[3] as Writable
    this.#pipe.on("error", () => undefined)
    const died = () => {
      if (this.#done) return
      this.hasDied = true
      onDeath()
    }
    this.#child.on("exit", died)
    this.#child.on("error", died)
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  /** This process makes the container, and is killed with it; undefined: it is done. */
  watch(pid: number | undefined): void {
    this.#pipe.write(`child ${pid ?? ""}\n`)
  }

  /** Kills the container now. */
  killNow(): void {
    this.#done = true
    this.#pipe.destroy()
  }

  /** The container has ended: nothing to kill. */
  end(): void {
    this.#done = true
    this.#pipe.end("done\n")
    this.#child.unref()
  }
}
