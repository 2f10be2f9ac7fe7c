import { randomUUID } from "node:crypto"
import { closeSync, linkSync, openSync, renameSync, rmSync, statSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { CofferError, fromSystem, isErrno } from "../errors.ts"

export interface WholeFile {
  /** Default: what umask leaves of 0666. */
  readonly mode?: number
  /** Refuses a file that is there; else it is replaced. */
  readonly fresh?: true
}

/** A file that is there when it is whole: written beside, then named. What is no file (`/dev/stdout`, a pipe) is written as it is. */
export function writeWhole(file: string, how: WholeFile, write: (fd: number) => void): void {
  const there = statSync(file, { throwIfNoEntry: false })
  const isFile = there === undefined || there.isFile()
  const beside = join(dirname(file), `.${basename(file)}.${randomUUID().slice(0, 8)}.tmp`)
  try {
    if (there !== undefined && how.fresh === true) throw taken(file)
    const fd = isFile ? openSync(beside, "wx", how.mode) : openSync(file, "w")
    try {
      write(fd)
    } finally {
      closeSync(fd)
    }
    if (isFile) name(beside, file, how)
  } catch (error) {
    if (isFile) rmSync(beside, { force: true })
    throw fromSystem(error, `write ${file}`)
  }
}

function name(beside: string, file: string, { fresh }: WholeFile): void {
  if (fresh !== true) return renameSync(beside, file)
  try {
    linkSync(beside, file)
  } catch (error) {
    throw isErrno(error, "EEXIST") ? taken(file) : error
  }
  rmSync(beside)
}

function taken(file: string): CofferError {
  return new CofferError("config", `${file}: wanted a new file, found one that is there`)
}
