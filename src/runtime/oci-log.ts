import { appendFileSync } from "node:fs"
import type { GlobalOptions } from "./command-line.ts"

/** Lines where the engine looks for them. Never throws: a log that is full or gone must not stop a service. */
export class OciLog {
  readonly #path: string | undefined
  readonly #json: boolean

  constructor({ log, logJson }: Pick<GlobalOptions, "log" | "logJson">) {
    this.#path = log === "" ? undefined : log
    this.#json = logJson
  }

  get isOpen(): boolean {
    return this.#path !== undefined
  }

  write(level: "info" | "warning" | "error", msg: string, facts: object = {}): void {
    if (this.#path === undefined) return
    const time = new Date().toISOString()
    const line = this.#json
      ? JSON.stringify({ level, msg, time, ...facts })
      : `time="${time}" level=${level} msg=${JSON.stringify(msg)}`
    try {
      appendFileSync(this.#path, `${line}\n`)
    } catch {
      // gone with its container
    }
  }
}
