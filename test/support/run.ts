import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"

export interface RunOptions {
  readonly cwd?: string
  readonly input?: string
  readonly env?: Readonly<Record<string, string>>
  readonly timeoutMs?: number
}

/** Runs a program and returns its stdout; throws with all that it said when it fails. */
export function run(command: readonly string[], options: RunOptions = {}): string {
  const [file = "", ...args] = command
  const ran = spawnSync(file, args, {
    cwd: options.cwd,
    input: options.input ?? "",
    env: { ...process.env, ...options.env },
    encoding: "utf8",
    timeout: options.timeoutMs ?? 120_000,
    maxBuffer: 256 * 1024 * 1024,
  })
  if (ran.status === 0) return ran.stdout
  const end = ran.error?.message ?? `status ${ran.status ?? ran.signal}`
  throw new Error(
    `${command.join(" ")}: ${end}\n${ran.stdout.slice(-4000)}${ran.stderr.slice(-4000)}`,
  )
}

/** Why a test cannot run without these programs, or false. */
export function lacks(...names: readonly string[]): string | false {
  const folders = (process.env["PATH"] ?? "").split(":")
  const missing = names.filter((name) => !folders.some((folder) => existsSync(join(folder, name))))
  return missing.length > 0 && `needs ${missing.join(", ")}`
}
