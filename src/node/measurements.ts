import { appendFileSync, mkdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { toHex } from "../bytes/index.ts"
import { fromSystem, isErrno } from "../errors.ts"

/**
 * What went into the machine's register since boot, in its order: the register's event log. Each MrEnclave goes in once,
 * however often it starts. The file stands in /run, which ends with the boot, as the register's value does.
 */
export class Measurements {
  readonly #path: string
  readonly #known: Set<string>

  constructor(directory: string) {
    this.#path = join(directory, "measurements")
    this.#known = new Set(readLines(this.#path))
  }

  has(mrEnclave: Uint8Array): boolean {
    return this.#known.has(toHex(mrEnclave))
  }

  add(mrEnclave: Uint8Array): void {
    const hex = toHex(mrEnclave)
    try {
      mkdirSync(join(this.#path, ".."), { recursive: true, mode: 0o700 })
      appendFileSync(this.#path, `${hex}\n`, { mode: 0o600, flush: true })
    } catch (error) {
      throw fromSystem(error, this.#path)
    }
    this.#known.add(hex)
  }

  get all(): readonly string[] {
    return [...this.#known]
  }
}

function readLines(path: string): readonly string[] {
  try {
    return readFileSync(path, "utf8")
      .split("\n")
      .filter((line) => line !== "")
  } catch (error) {
    if (isErrno(error, "ENOENT")) return []
    throw fromSystem(error, path)
  }
}
