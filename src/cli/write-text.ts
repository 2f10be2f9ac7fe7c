import { writeFileSync } from "node:fs"
import { fromSystem } from "../errors.ts"

export function writeText(file: string, text: string): void {
  try {
    writeFileSync(file, text)
  } catch (error) {
    throw fromSystem(error, `write ${file}`)
  }
}
