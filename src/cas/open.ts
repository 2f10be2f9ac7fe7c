import type { EvidenceContext } from "../attest/index.ts"
import { Cas } from "./cas.ts"
import type { Backend } from "./store/backend.ts"
import { openPostgres } from "./store/postgres.ts"
import { openSqlite } from "./store/sqlite.ts"

export interface OpenOptions {
  /** A directory (SQLite), or `postgres://…`. */
  readonly store: string
  /** 32 bytes. */
  readonly master: Uint8Array
  readonly create: boolean
  readonly creators?: readonly string[]
  readonly evidence?: Partial<EvidenceContext>
}

export async function openBackend(store: string): Promise<Backend> {
  return /^postgres(ql)?:\/\//.test(store) ? await openPostgres(store) : openSqlite(store)
}

export async function openCas(options: OpenOptions): Promise<Cas> {
  const { store, ...rest } = options
  const backend = await openBackend(store)
  try {
    return await Cas.open({ ...rest, backend, now: Date.now })
  } catch (error) {
    await backend.close()
    throw error
  }
}
