import { closeSync, existsSync, fsyncSync, openSync, statSync, writeSync } from "node:fs"
import { toHex } from "../bytes/index.ts"
import { randomBytes } from "../crypto/index.ts"
import { CofferError, fromSystem } from "../errors.ts"
import { readKeyFile } from "./volume-source.ts"

/**
 * The key of an image's encrypted content, in a file of mode 0600: 64 hex digits. Used again when it is there, so that the
 * same image gives the same bytes, and new content opens with the key that the policies have.
 */
export class ImageKey {
  readonly #wanted: string | undefined
  readonly #memory: boolean
  /** Where it was read or written; undefined: it was not needed. */
  file: string | undefined
  /** What was given out. */
  key: Uint8Array | undefined

  /** `memory`: without a file named, none is written, because the key goes elsewhere. */
  constructor(file: string | undefined, memory: boolean) {
    this.#wanted = file
    this.#memory = memory
  }

  of(name: string): Uint8Array {
    this.key ??= this.#take(name)
    return this.key
  }

  #take(name: string): Uint8Array {
    if (this.#memory && this.#wanted === undefined) return randomBytes(32)
    const file = this.#wanted ?? `${name}.keys`
    this.file = file
    if (existsSync(file)) return readPrivate(file)
    const key = randomBytes(32)
    // Durable before the image is: an image without its key is lost.
    writeNew(file, `${toHex(key)}\n`)
    return key
  }
}

function readPrivate(file: string): Uint8Array {
  const mode = statSync(file).mode & 0o777
  if ((mode & 0o077) !== 0)
    throw new CofferError(
      "config",
      `key file ${file}: wanted a file that only its owner can read, found mode 0${mode.toString(8)}`,
      { hint: `chmod 600 ${file}` },
    )
  return readKeyFile(file)
}

function writeNew(file: string, text: string): void {
  try {
    const fd = openSync(file, "wx", 0o600)
    try {
      writeSync(fd, text)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    throw fromSystem(error, `write ${file}`)
  }
}
