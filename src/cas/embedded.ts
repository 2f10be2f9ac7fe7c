import { Cas } from "./cas.ts"
import { CasClient, type Transport } from "./client.ts"
import { embeddedMasterKey } from "./master-key.ts"
import { routeOf } from "./routes.ts"
import { openSqlite } from "./store/sqlite.ts"

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
    const master = embeddedMasterKey(dir, true)
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
