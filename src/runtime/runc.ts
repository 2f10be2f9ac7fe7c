import { accessSync, constants } from "node:fs"
import { CofferError } from "../errors.ts"

const directories = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]

/** The path of runc. Not by PATH: it comes from the engine. */
export function findRunc(): string {
  for (const directory of directories) {
    try {
      accessSync(`${directory}/runc`, constants.X_OK)
      return `${directory}/runc`
    } catch {
      // not in this one
    }
  }
  throw new CofferError("missing", "wanted runc, found none", {
    hint: "install it: apt-get install runc",
  })
}
