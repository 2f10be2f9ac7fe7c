import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs"
import { join } from "node:path"
import { fromHex, toHex } from "../bytes/index.ts"
import { randomBytes } from "../crypto/index.ts"
import { CofferError, fromSystem, isErrno } from "../errors.ts"
import { Cas } from "./cas.ts"
import { CasClient, type Transport } from "./client.ts"
import { routeOf } from "./routes.ts"
import { openSqlite } from "./store/sqlite.ts"

const keyName = "master.key"

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

/** The transport of a CAS in this process: the same calls, with no network between. */
export function directTransport(cas: Cas): Transport {
  return {
    call: async (path, body) => {
      const route = routeOf(path)
      if (route === undefined) throw new TypeError(`the protocol has no call ${path}`)
      // What goes over a wire is what JSON keeps: so both ways see the same values.
      const reply = await route.call(cas, JSON.parse(JSON.stringify(body)))
      return JSON.parse(JSON.stringify(reply)) as unknown
    },
    close: () => cas.close(),
  }
}

export interface EmbeddedCas {
  readonly cas: Cas
  readonly client: CasClient
  close(): Promise<void>
}

/**
 * A CAS inside this process, on SQLite in `dir` (made when absent), for `coffer run` on one machine. Several processes may
 * open one directory. The master key lies beside the database: who owns the disk owns both, and reports say so.
 */
export async function openEmbeddedCas(
  dir: string,
  options: { readonly now?: () => number } = {},
): Promise<EmbeddedCas> {
  const backend = openSqlite(dir)
  try {
    const master = masterKeyFile(join(dir, keyName), true)
    const cas = await Cas.open({ backend, master, create: true, now: options.now ?? Date.now })
    const client = new CasClient({
      transport: directTransport(cas),
      casKey: cas.identity.publicKey,
    })
    return { cas, client, close: () => cas.close() }
  } catch (error) {
    await backend.close()
    throw error
  }
}
