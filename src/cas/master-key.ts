import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs"
import { join } from "node:path"
import { fromHex, toHex } from "../bytes/index.ts"
import { randomBytes } from "../crypto/index.ts"
import { CofferError, fromSystem, isErrno } from "../errors.ts"

/** Of an embedded CAS, beside its database. */
export function embeddedMasterKey(dir: string, create: boolean): Uint8Array {
  return masterKeyFile(join(dir, "master.key"), create)
}

/** A master key file: 64 hex digits and a line end, mode 0600. Made when it is absent and `create` says so. */
export function masterKeyFile(path: string, create: boolean): Uint8Array {
  try {
    const key = fromHex(readFileSync(path, "utf8").trim())
    if (key?.length === 32) return key
    throw new CofferError("config", `${path}: wanted 64 hex digits, found something else`, {
      hint: "restore the key file from its backup",
    })
  } catch (error) {
    if (!isErrno(error, "ENOENT") || !create)
      throw fromSystem(error, path, "coffer cas init makes a master key")
  }
  const key = randomBytes(32)
  writeNewFile(path, `${toHex(key)}\n`)
  return key
}

/** A file of mode 0600 that was not there before, durable when this returns. */
export function writeNewFile(path: string, text: string): void {
  try {
    const fd = openSync(path, "wx", 0o600)
    writeSync(fd, text)
    fsyncSync(fd)
    closeSync(fd)
  } catch (error) {
    throw fromSystem(error, path)
  }
}
