import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from "node:fs"
import { join } from "node:path"
import { CofferError, fromSystem, isErrno } from "../errors.ts"
import { type SignedHead, signedHeadSchema } from "./head.ts"

/**
 * The newest signed head of each CAS that this machine has talked to, in a folder that ends with the boot: a service
 * without a volume, too, gets nothing from a CAS whose database went back since. Volumes keep it for longer.
 */
export class HeadMemory {
  readonly #folder: string

  constructor(directory: string) {
    this.#folder = join(directory, "heads")
  }

  /** `casKey`: 64 hex digits. */
  newest(casKey: string): SignedHead | undefined {
    const path = this.#path(casKey)
    let text: string
    try {
      text = readFileSync(path, "utf8")
    } catch (error) {
      if (isErrno(error, "ENOENT")) return undefined
      throw fromSystem(error, path)
    }
    const head = parsed(text)
    if (head?.cas === casKey) return head
    throw new CofferError("integrity", `${path}: wanted a signed head of that CAS, found none`, {
      hint: "remove the file: it is of use until the next boot only",
    })
  }

  /** Keeps it when it is newer than the one that is kept. */
  keep(head: SignedHead): void {
    const kept = this.newest(head.cas)
    if (kept !== undefined && kept.sequence >= head.sequence) return
    const path = this.#path(head.cas)
    const draft = `${path}.${process.pid}`
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
      const fd = openSync(draft, "w", 0o600)
      try {
        writeSync(fd, JSON.stringify(head))
        fsyncSync(fd)
      } finally {
        closeSync(fd)
      }
      renameSync(draft, path)
    } catch (error) {
      throw fromSystem(error, path)
    }
  }

  #path(casKey: string): string {
    if (!/^[0-9a-f]{64}$/.test(casKey)) throw new TypeError("a CAS key is 64 hex digits")
    return join(this.#folder, `${casKey}.json`)
  }
}

function parsed(text: string): SignedHead | undefined {
  try {
    return signedHeadSchema.safeParse(JSON.parse(text)).data
  } catch {
    return undefined
  }
}
