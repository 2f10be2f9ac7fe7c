import { statSync } from "node:fs"
import { CofferError } from "../errors.ts"

/**
 * Refuses a path at which something stands that is no file: what is written beside and then renamed would take the place
 * of a device or a pipe.
 */
export function refuseOtherThanFile(path: string): void {
  const there = statSync(path, { throwIfNoEntry: false })
  if (there === undefined || there.isFile()) return
  const found = there.isDirectory() ? "a directory" : "a device, pipe or socket"
  throw new CofferError("config", `${path}: wanted a file to make or replace, found ${found}`, {
    hint: "give the name of a file",
  })
}
