import { writeFileSync } from "node:fs"
import { writeWhole } from "./whole-file.ts"

/** All of it, or the file that was there before. */
export function writeText(file: string, text: string): void {
  writeWhole(file, {}, (fd) => writeFileSync(fd, text))
}
