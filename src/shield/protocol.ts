import { CofferError, type ErrorCode } from "../errors.ts"
import type { IdMaps } from "../fuse/index.ts"

/** What a mount's two threads say to each other: the one that mounts and answers signals, and the one that serves. */
export interface ServeInput {
  /** /dev/fuse, and the descriptor that wakes the loop. */
  readonly device: number
  readonly waker: number
  readonly metrics: SharedArrayBuffer
  /** Two Int32: the gate and the stop flag. */
  readonly signals: SharedArrayBuffer
  /** Of the container that is served; undefined: its ids are those of the mount. */
  readonly ids: IdMaps | undefined
}

/** The one message to the worker: what its own builder understands. Undefined: there will be no filesystem. */
export interface ToServer {
  readonly input: ServeInput
  readonly request: { readonly value: unknown } | undefined
}

export const gateAt = 0
export const stopAt = 1
export const gate = { closed: 0, open: 1, given: 2 } as const

/** A fault that the loop met while it served: a tampered block, for example. The mount goes on. */
export interface Incident {
  readonly code: ErrorCode
  readonly message: string
  readonly reason?: string
  /** What to do. */
  readonly hint?: string
  readonly facts: CofferError["facts"]
}

export type FromServer =
  | { readonly type: "built"; readonly readOnly: boolean }
  | { readonly type: "ready" }
  | { readonly type: "incident"; readonly incident: Incident }
  | { readonly type: "ended"; readonly error: Incident | undefined }

/** A CofferError on its way between threads: structured clones lose the class. */
export function transport(error: unknown): Incident {
  if (!(error instanceof CofferError))
    return {
      code: "fault",
      message: error instanceof Error ? (error.stack ?? error.message) : String(error),
      facts: {},
    }
  const { code, message, facts, hint, reason } = error
  return {
    code,
    message,
    facts,
    ...(hint === undefined ? {} : { hint }),
    ...(reason === undefined ? {} : { reason }),
  }
}

export function received({ code, message, facts, hint, reason }: Incident): CofferError {
  return new CofferError(code, message, {
    facts,
    ...(hint === undefined ? {} : { hint }),
    ...(reason === undefined ? {} : { reason }),
  })
}
