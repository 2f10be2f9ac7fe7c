import { accessSync, constants } from "node:fs"
import { CofferError } from "../errors.ts"

const directories = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]

/** Where programs of the system are, as PATH says it. */
export const systemPath = directories.join(":")

/** The path of a program of the system's. Not by PATH: it comes from the engine. */
export function systemTool(name: string): string {
  for (const directory of directories) {
    try {
      accessSync(`${directory}/${name}`, constants.X_OK)
      return `${directory}/${name}`
    } catch {
      // not in this one
    }
  }
  throw new CofferError("missing", `wanted ${name}, found none`, {
    hint: `install it: apt-get install ${name}`,
  })
}
