import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto"
import { mkdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { writeNewFile } from "../cas/index.ts"
import { fromSystem, isErrno } from "../errors.ts"

/** What this node vouches for enclaves with. */
export interface NodeKeys {
  /** Signs enclave reports. */
  readonly node: KeyObject
  /** In place of the hardware's key: this machine has no TEE that we use, and every report says so. */
  readonly sim: KeyObject
}

/** Made at the first use after boot, when `directory` is in /run. */
export function nodeKeys(directory: string): NodeKeys {
  return {
    node: ed25519File(join(directory, "node.key")),
    sim: ed25519File(join(directory, "insecure-sim.key")),
  }
}

/** An Ed25519 key in a file of mode 0600, made when it is absent. Several processes may ask at once. */
export function ed25519File(path: string): KeyObject {
  for (;;) {
    try {
      return createPrivateKey(readFileSync(path, "utf8"))
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw fromSystem(error, path)
    }
    mkdirSync(join(path, ".."), { recursive: true, mode: 0o700 })
    const { privateKey } = generateKeyPairSync("ed25519")
    try {
      writeNewFile(path, privateKey.export({ type: "pkcs8", format: "pem" }))
    } catch (error) {
      if (!(error instanceof Error) || !isErrno(error.cause, "EEXIST")) throw error
    }
  }
}
