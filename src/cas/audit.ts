import {
  canonicalJson,
  concatBytes,
  fromHex,
  type JsonValue,
  parseCanonicalJson,
  toHex,
  utf8,
} from "../bytes/index.ts"
import { labelBytes, sha256 } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"

/** The audit log: a hash chain, spec/audit-log.md. What stands in it is public to the CAS's operators, never a secret. */

export const auditKinds = [
  "cas-created",
  "cas-started",
  "cas-restored",
  "counter-bound",
  "policy-created",
  "policy-updated",
  "policy-read",
  "attested",
  "refused",
  "tag-moved",
  "lease-taken",
  "lease-released",
  "lease-revoked",
  "volume-restored",
  "volume-reset",
  "volume-rekeyed",
  "volume-key-dropped",
  "secret-made",
] as const
export type AuditKind = (typeof auditKinds)[number]

export type AuditDetail = Readonly<Record<string, string | number | boolean>>

export interface AuditEntry {
  readonly sequence: number
  /** Milliseconds; never less than the entry's before. */
  readonly time: number
  readonly kind: AuditKind
  /** `shop`, `shop/web`, `shop/data/0`; empty for the CAS itself. */
  readonly subject: string
  readonly detail: AuditDetail
}

/** As it is stored and served: the hash of the entry, a space, the entry as canonical JSON. */
export type AuditLine = string

export const genesisHash = "0".repeat(64)

/** hash(n) = SHA-256(label ‖ hash(n-1), 32 bytes ‖ entry as canonical JSON); hash(0) is 32 zero bytes. */
export function auditHash(previous: string, entry: Uint8Array): string {
  const before = fromHex(previous)
  if (before === undefined) throw new TypeError("a hash is hex")
  return toHex(sha256(concatBytes(labelBytes("casAudit"), before, entry)))
}

/** The hash of an entry, and its line in UTF-8. */
export function auditLine(
  previous: string,
  entry: AuditEntry,
): { readonly hash: string; readonly line: Uint8Array } {
  const bytes = canonicalJson(entry as unknown as JsonValue)
  const hash = auditHash(previous, bytes)
  return { hash, line: concatBytes(utf8(`${hash} `), bytes) }
}

export interface AuditPoint {
  readonly sequence: number
  readonly hash: string
}

/** Follows the chain over one more line; throws `integrity` at the first that does not fit. */
export function followAudit(
  from: AuditPoint,
  line: AuditLine,
): AuditPoint & { readonly entry: AuditEntry } {
  const hash = line.slice(0, 64)
  const bytes = utf8(line.slice(65))
  const wanted = auditHash(from.hash, bytes)
  if (hash !== wanted || line[64] !== " ")
    throw broken(from.sequence + 1, `the hash ${wanted}`, hash)
  const entry = parseCanonicalJson(
    bytes,
    `audit log entry ${from.sequence + 1}`,
  ) as unknown as AuditEntry
  if (entry.sequence !== from.sequence + 1)
    throw broken(from.sequence + 1, `sequence ${from.sequence + 1}`, String(entry.sequence))
  return { sequence: entry.sequence, hash, entry }
}

function broken(sequence: number, wanted: string, found: string): CofferError {
  return new CofferError(
    "integrity",
    `audit log: entry ${sequence}: wanted ${wanted}, found ${found}`,
    {
      reason: "audit-chain",
      facts: { sequence },
    },
  )
}

/** The chain alone, for an entry whose words are not needed: what the head binds was written by us. */
export function followChain(previous: Uint8Array, line: Uint8Array): Uint8Array {
  return sha256(concatBytes(labelBytes("casAudit"), previous, line.subarray(65)))
}

/** Keys of log rows sort as their numbers. */
export function logKey(sequence: number): string {
  return String(sequence).padStart(16, "0")
}
