import { readFileSync } from "node:fs"
import { fromSystem } from "../errors.ts"

export function readText(file: string): string {
  try {
    return readFileSync(file, "utf8")
  } catch (error) {
    throw fromSystem(error, `read ${file}`)
  }
}
