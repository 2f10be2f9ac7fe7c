import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto"
import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs"
import { join } from "node:path"
import { toHex } from "../bytes/index.ts"
import { randomBytes } from "../crypto/index.ts"
import { fromSystem, isErrno } from "../errors.ts"

/** What this node vouches for enclaves with. */
export interface NodeKeys {
  /** Signs enclave reports. */
  readonly node: KeyObject
  /** In place of the hardware's key, on a machine that has none that we use. */
  readonly sim: KeyObject
}

/** Made at the first use after boot, when `directory` is in /run. */
export function nodeKeys(directory: string): NodeKeys {
  return {
    node: ed25519File(join(directory, "node.key")),
    sim: ed25519File(join(directory, "insecure-sim.key")),
  }
}

/** An Ed25519 key in a file of mode 0600, made when it is absent. Several processes may ask at once: all get the same. */
export function ed25519File(path: string): KeyObject {
  for (;;) {
    try {
      return createPrivateKey(readFileSync(path, "utf8"))
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw fromSystem(error, path)
    }
    mkdirSync(join(path, ".."), { recursive: true, mode: 0o700 })
    const { privateKey } = generateKeyPairSync("ed25519")
    writeWhole(path, privateKey.export({ type: "pkcs8", format: "pem" }))
  }
}

/** The whole file at once, or the one that another process made meanwhile: nobody reads half a key. */
function writeWhole(path: string, text: string): void {
  const draft = `${path}.${toHex(randomBytes(8))}`
  try {
    const fd = openSync(draft, "wx", 0o600)
    try {
      writeSync(fd, text)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    linkSync(draft, path)
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw fromSystem(error, path)
  } finally {
    rmSync(draft, { force: true })
  }
}
