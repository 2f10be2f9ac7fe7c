import { readFileSync } from "node:fs"
import { CofferError, fromSystem } from "../errors.ts"
import { type Change, type Policy, parsePolicy } from "../policy/index.ts"

export function readPolicyFile(file: string): Policy {
  try {
    return parsePolicy(readFileSync(file, "utf8"), file)
  } catch (error) {
    throw fromSystem(error, file)
  }
}

/** The values of `--secret NAME=FILE`, base64. */
export function givenOf(list: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    list.map((item) => {
      const [, name, file] = /^([a-z0-9._-]+)=(.+)$/.exec(item) ?? []
      if (name === undefined || file === undefined)
        throw new CofferError("usage", `--secret: wanted NAME=FILE, found ${JSON.stringify(item)}`)
      try {
        return [name, readFileSync(file).toString("base64")]
      } catch (error) {
        throw fromSystem(error, file)
      }
    }),
  )
}

export function changeLine({ field, before, after, widens }: Change): string {
  return `${widens ? "+" : " "} ${field}: ${before} -> ${after}${widens ? "   (gives more than before)" : ""}`
}
