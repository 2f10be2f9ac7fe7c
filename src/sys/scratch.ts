import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fromSystem, isErrno } from "../errors.ts"

/** A new folder for temporary files. Who asked for it removes it. */
export function makeScratch(prefix: string): string {
  try {
    return mkdtempSync(join(tmpdir(), prefix))
  } catch (error) {
    throw scratchError(error, "temporary folder")
  }
}

interface Scratch {
  readonly path: string
  /** Removes it with all that is in it. */
  remove(): void
}

/** A new folder for much and for long: it goes also when SIGINT or SIGTERM ends the process before `remove` does. */
export function makeLargeScratch(prefix: string): Scratch {
  const path = makeScratch(prefix)
  const signals = ["SIGINT", "SIGTERM"] as const
  const remove = () => {
    for (const signal of signals) process.off(signal, end)
    rmSync(path, { recursive: true, force: true })
  }
  const end = (signal: NodeJS.Signals) => {
    remove()
    process.kill(process.pid, signal) // with nobody who listens it ends us, as it would have
  }
  for (const signal of signals) process.on(signal, end)
  return { path, remove }
}

/** An error on the temporary file that `what` names. */
export function scratchError(error: unknown, what: string): Error {
  const full = isErrno(error, "ENOSPC", "EDQUOT")
  const hint = full ? `make room in ${tmpdir()}` : `is ${tmpdir()} there, and yours?`
  return fromSystem(error, what, `${hint}, or set TMPDIR`)
}
