import { accessSync, constants } from "node:fs"
import { CofferError } from "../errors.ts"
import { isOrdinaryUser } from "./directories.ts"

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

/** The command that kills a container. `runc`: the program and its global options. */
export function killCommand(runc: readonly string[], id: string): string[] {
  // An ordinary user's has no control group in which `--all` would find it. The first process takes its PID namespace with it.
  const all = isOrdinaryUser() ? [] : ["--all"]
  return [...runc, "kill", ...all, id, "KILL"]
}
