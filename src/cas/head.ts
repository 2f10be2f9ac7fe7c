import { type KeyObject, sign } from "node:crypto"
import { z } from "zod"
import { verifyEd25519 } from "../attest/index.ts"
import { canonicalJson, concatBytes, fromHex, toHex } from "../bytes/index.ts"
import { labelBytes } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"
import type { AuditPoint } from "./audit.ts"

/**
 * The CAS's signed word on how far its log is. Clients keep the newest one, and every commit of a volume stores it: a
 * CAS whose database was put back to an older copy is behind what its own signature says.
 */
export const signedHeadSchema = z.strictObject({
  cas: z.string().regex(/^[0-9a-f]{64}$/),
  sequence: z.int().min(0),
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  /** Milliseconds. */
  time: z.int().min(0),
  signature: z.string().regex(/^[0-9a-f]{128}$/),
})

export type SignedHead = Readonly<z.infer<typeof signedHeadSchema>>

export function signHead(key: KeyObject, cas: string, point: AuditPoint, time: number): SignedHead {
  const body = { cas, sequence: point.sequence, hash: point.hash, time }
  return { ...body, signature: toHex(sign(null, message(body), key)) }
}

function message(body: Omit<SignedHead, "signature">): Uint8Array {
  return concatBytes(labelBytes("casHead"), canonicalJson(body))
}

/** Throws `refused` when the head is not this CAS's own word. */
export function verifyHead(head: SignedHead, casKey: Uint8Array): void {
  const { signature, ...body } = head
  if (
    head.cas === toHex(casKey) &&
    verifyEd25519(casKey, message(body), fromHex(signature) ?? new Uint8Array())
  )
    return
  throw new CofferError(
    "refused",
    `CAS head ${head.sequence}: wanted the signature of ${toHex(casKey)}, found another`,
    {
      reason: "head-signature",
    },
  )
}

/** Throws `rollback` when `now` is older than what was seen before, or another history of the same length. */
export function requireNotBehind(seen: SignedHead | undefined, now: SignedHead): void {
  if (seen === undefined || seen.sequence < now.sequence) return
  if (seen.sequence === now.sequence && seen.hash === now.hash) return
  throw casRollback(
    `entry ${seen.sequence} (${seen.hash.slice(0, 16)}…) or newer`,
    `entry ${now.sequence} (${now.hash.slice(0, 16)}…)`,
  )
}

/** Throws `rollback` when the log does not have, at that place, what was seen. `found`: the hash of the entry there. */
export function requireEntry(seen: SignedHead, found: string | undefined): void {
  if (seen.sequence === 0 || found === seen.hash) return
  throw casRollback(
    `entry ${seen.sequence} (${seen.hash.slice(0, 16)}…)`,
    found === undefined ? "none" : found.slice(0, 16),
  )
}

export function casRollback(wanted: string, found: string): CofferError {
  return new CofferError(
    "rollback",
    `the CAS is behind what it has signed: wanted ${wanted}, found ${found}`,
    {
      reason: "cas-rollback",
      hint: "its database was put back to an older copy: restore the newest one (coffer cas restore)",
    },
  )
}
