import { CofferError } from "../../errors.ts"
import type { Anchor } from "./anchor.ts"
import type { Disk } from "./disk.ts"
import { openStore, openStoreForReading, readHeader, type StoreInfo } from "./open.ts"
import { encodeRekeyRequest, leaveRekeyRequest, withdrawRekeyRequest } from "./rekey-request.ts"

export interface RekeyOptions {
  readonly disk: Disk
  readonly key: Uint8Array
  readonly newKey: Uint8Array
  readonly anchor?: Anchor
  readonly now?: () => number
}

/** What has come of a request: the volume's state under its new key, or a process that has to be waited for. */
export type RekeyState =
  | { readonly kind: "done"; readonly info: StoreInfo }
  | { readonly kind: "asked"; poll(): StoreInfo | undefined; withdraw(): void }

/**
 * Puts a volume under a new key: at once when nobody has it, else by asking the process that has. Again after an
 * interruption: what is done already stays done.
 */
export function requestRekey(options: RekeyOptions): RekeyState {
  const done = underKey(options, options.newKey)
  if (done !== undefined) return { kind: "done", info: done }
  try {
    const { store } = openStore(options)
    try {
      store.rekey(options.newKey)
    } finally {
      store.close()
    }
  } catch (error) {
    if (!(error instanceof CofferError) || error.reason !== "in-use") throw error
    return ask(options)
  }
  const info = underKey(options, options.newKey)
  if (info === undefined) throw new CofferError("fault", "the volume is not under its new key")
  return { kind: "done", info }
}

/** The volume's state when this is its newest key. */
function underKey(options: RekeyOptions, key: Uint8Array): StoreInfo | undefined {
  try {
    const { store, info } = openStoreForReading({ ...options, key })
    store.close()
    return info
  } catch (error) {
    if (error instanceof CofferError && error.reason === "wrong-key") return undefined
    throw error
  }
}

function ask(options: RekeyOptions): RekeyState {
  const { disk, key, newKey, now = Date.now } = options
  const state = underKey(options, key)
  if (state === undefined)
    throw new CofferError("integrity", "the key does not fit this volume", {
      reason: "wrong-key",
      hint: "give the volume's newest key file",
    })
  const { generation } = state
  const request = { generation, time: now(), newKey }
  leaveRekeyRequest(disk, encodeRekeyRequest(key, readHeader(options), request))
  return {
    kind: "asked",
    poll: () => underKey(options, newKey),
    withdraw: () => withdrawRekeyRequest(disk),
  }
}
