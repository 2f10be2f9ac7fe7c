import { CofferError, type ErrorCode } from "../errors.ts"
import type { VolumeGrant } from "./configuration.ts"
import type { SignedHead } from "./head.ts"
import type { PositionReply } from "./requests.ts"
import type { Position, VolumeRow } from "./volumes.ts"

/** Where an anchor finds the CAS. */
export type AnchorTarget =
  | { readonly type: "https"; readonly url: string; readonly casKey: string }
  | { readonly type: "embedded"; readonly dir: string }

export interface AnchorSetup {
  readonly target: Extract<AnchorTarget, { type: "https" }>
  readonly policy: string
  readonly grant: VolumeGrant
  /** One Int32: the number of replies that were posted. */
  readonly signal: SharedArrayBuffer
}

export type AnchorCall =
  /** `seen`: the CAS must not be behind this head of its own. */
  | { readonly verb: "current"; readonly seen?: SignedHead }
  | {
      readonly verb: "move"
      readonly expected: Position
      readonly next: Position & { readonly hint: NonNullable<VolumeRow["hint"]> }
    }
  | { readonly verb: "close" }

export type AnchorReply =
  | { readonly ok: true; readonly position: PositionReply | undefined }
  | { readonly ok: false; readonly error: WireError }

export interface WireError {
  readonly code: ErrorCode
  readonly message: string
  readonly reason: string | undefined
  readonly hint: string | undefined
}

export function toWire(error: unknown): WireError {
  if (error instanceof CofferError) {
    const { code, message, reason, hint } = error
    return { code, message, reason, hint }
  }
  return { code: "fault", message: String(error), reason: undefined, hint: undefined }
}

export function fromWire({ code, message, reason, hint }: WireError): CofferError {
  return new CofferError(code, message, {
    ...(reason === undefined ? {} : { reason }),
    ...(hint === undefined ? {} : { hint }),
  })
}
