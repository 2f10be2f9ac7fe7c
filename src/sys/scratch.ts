import { mkdtempSync } from "node:fs"
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

/** An error on the temporary file that `what` names. */
export function scratchError(error: unknown, what: string): Error {
  const full = isErrno(error, "ENOSPC", "EDQUOT")
  const hint = full ? `make room in ${tmpdir()}` : `is ${tmpdir()} there, and yours?`
  return fromSystem(error, what, `${hint}, or set TMPDIR`)
}
