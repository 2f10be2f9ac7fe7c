import { z } from "zod"
import { canonicalJson, concatBytes, toHex } from "../bytes/index.ts"
import { equalSecret, hmacSha256, labelBytes, randomBytes } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"
import type { VolumeAccess, VolumePolicy } from "../policy/index.ts"
import type { Transaction } from "./ledger.ts"

const hex32 = z.string().regex(/^[0-9a-f]{64}$/)
const count = z.int().min(0)

/** Where the newest commit is, and the volume's own count of openings. Only the volume's store reads it. */
export const hintSchema = z.strictObject({ segment: hex32, offset: count, opening: count })

const leaseSchema = z.strictObject({
  session: hex32,
  service: z.string(),
  /** The node agent that holds it: it knows when its own container has ended. */
  node: z.string(),
  /** Milliseconds. */
  expires: z.int(),
  /** What was accepted, so that a new document can be asked whether it still is. */
  accepted: z
    .strictObject({
      platform: z.string(),
      enclave: z.strictObject({
        mrEnclave: hex32,
        mrSigner: hex32.optional(),
        product: count,
        svn: count,
        debug: z.boolean(),
        runtimeVersion: z.string(),
      }),
    })
    .optional(),
})
type Lease = z.infer<typeof leaseSchema>

/** The freshness record of one volume: spec/cas-protocol.md section 5. */
export const volumeRowSchema = z.strictObject({
  id: hex32,
  protection: z.enum(["encrypted", "authenticated"]),
  keys: z.array(z.strictObject({ generation: count, key: hex32 })),
  /** `new`: nothing may be there yet. It is left once, by compare-and-swap, and only a reset brings it back. */
  state: z.enum(["new", "open"]),
  sequence: count,
  tag: hex32,
  hint: hintSchema.optional(),
  /** Fencing: each lease for writing has a higher one, and only the highest moves the tag. */
  epoch: count,
  lease: leaseSchema.optional(),
  highestSvn: count,
  restored: z.strictObject({ from: hex32, to: hex32, time: z.int() }).optional(),
  moved: z.int(),
})
export type VolumeRow = Readonly<z.infer<typeof volumeRowSchema>>

export const zeroTag = "0".repeat(64)
export const leaseMs = 30_000

export interface VolumePlace {
  readonly policy: string
  readonly volume: string
  readonly instance: number
}

export function volumeKey({ policy, volume, instance }: VolumePlace): string {
  return `${policy}/${volume}/${instance}`
}

export async function readVolume(
  tx: Transaction,
  place: VolumePlace,
): Promise<VolumeRow | undefined> {
  const row = await tx.get("volumes", volumeKey(place))
  return row === undefined ? undefined : volumeRowSchema.parse(row)
}

export function newVolume(
  protection: VolumePolicy["protection"],
  epoch: number,
  time: number,
): VolumeRow {
  return {
    id: toHex(randomBytes(32)),
    protection,
    keys: [{ generation: 0, key: toHex(randomBytes(32)) }],
    state: "new",
    sequence: 0,
    tag: zeroTag,
    epoch,
    highestSvn: 0,
    moved: time,
  }
}

export interface LeaseRequest {
  readonly service: string
  readonly node: string
  readonly accepted: NonNullable<Lease["accepted"]>
  /** The asker knows that the holder on this same node has ended (it holds the lock of the volume's directory). */
  readonly takeover: boolean
}

/** A lease for writing, under a new epoch: whoever held an older one can no longer move the tag. */
export async function takeLease(
  tx: Transaction,
  place: VolumePlace,
  row: VolumeRow,
  request: LeaseRequest,
): Promise<VolumeRow> {
  const { lease } = row
  const held = lease !== undefined && lease.expires > tx.time
  if (held && !(request.takeover && lease.node === request.node))
    throw new CofferError(
      "rollback",
      `volume ${volumeKey(place)}: wanted no other writer, found ${lease.service} with a lease for ${Math.ceil((lease.expires - tx.time) / 1000)} s more`,
      {
        reason: "lease-held",
        hint: "stop it, or wait; several replicas need one volume each: `instances` in the policy",
      },
    )
  const next: VolumeRow = {
    ...row,
    epoch: row.epoch + 1,
    highestSvn: Math.max(row.highestSvn, request.accepted.enclave.svn),
    lease: {
      session: toHex(randomBytes(32)),
      service: request.service,
      node: request.node,
      expires: tx.time + leaseMs,
      accepted: request.accepted,
    },
  }
  await tx.put("volumes", volumeKey(place), next)
  tx.log("lease-taken", volumeKey(place), {
    service: request.service,
    epoch: next.epoch,
    takeover: held,
  })
  return next
}

export interface TokenClaims extends VolumePlace {
  readonly id: string
  readonly epoch: number
  readonly access: VolumeAccess
}

/** A token speaks for a volume, an epoch and an access: it needs no row of its own, and a new epoch ends it. */
export function leaseToken(tokenKey: Uint8Array, claims: TokenClaims): string {
  const { policy, volume, instance, id, epoch, access } = claims
  const body = canonicalJson({ policy, volume, instance, id, epoch, access })
  return toHex(hmacSha256(tokenKey, concatBytes(labelBytes("casLeaseToken"), body)))
}

export function requireToken(tokenKey: Uint8Array, claims: TokenClaims, token: string): void {
  if (equalSecret(Buffer.from(leaseToken(tokenKey, claims)), Buffer.from(token))) return
  throw new CofferError(
    "refused",
    `volume ${volumeKey(claims)}: wanted the token of a lease for ${claims.access} under epoch ${claims.epoch}, found another`,
    {
      reason: "lease-token",
      hint: "the CAS has given the volume to somebody else since, or has reset it: attest again",
    },
  )
}

export const positionSchema = z.strictObject({ sequence: count, tag: hex32 })
export type Position = Readonly<z.infer<typeof positionSchema>>

export interface Move {
  readonly epoch: number
  readonly expected: Position
  readonly next: Position & { readonly hint?: VolumeRow["hint"] }
}

/** Compare-and-swap of the tag, in a transaction: the row afterwards. */
export async function moveTag(
  tx: Transaction,
  place: VolumePlace,
  row: VolumeRow,
  move: Move,
): Promise<VolumeRow> {
  const moved = movedRow(place, row, move, tx.time)
  if (moved === row) return row
  await tx.put("volumes", volumeKey(place), moved)
  tx.log("tag-moved", volumeKey(place), tagMoved(moved))
  return moved
}

/** What the log says of it. */
export function tagMoved({ sequence, tag, epoch }: VolumeRow) {
  return { sequence, tag, epoch }
}

/** The row after the move. The same row when that move is already current, in the same epoch: its reply was lost. */
export function movedRow(place: VolumePlace, row: VolumeRow, move: Move, time: number): VolumeRow {
  if (row.epoch !== move.epoch)
    throw fork(place, "fenced", `epoch ${row.epoch}, the newest lease's`, `epoch ${move.epoch}`)
  if (row.state === "open" && row.sequence === move.next.sequence && row.tag === move.next.tag)
    return row
  const { expected, next } = move
  if (row.sequence !== expected.sequence || row.tag !== expected.tag)
    throw fork(
      place,
      "fork",
      `tag ${short(row.tag)} (${row.sequence}), the current one, as predecessor`,
      `${short(expected.tag)} (${expected.sequence})`,
    )
  if (next.sequence <= row.sequence && row.state === "open")
    throw fork(place, "sequence", `a sequence above ${row.sequence}`, String(next.sequence))
  const { hint: _, ...kept } = row
  return {
    ...kept,
    state: "open",
    sequence: next.sequence,
    tag: next.tag,
    moved: time,
    ...(next.hint === undefined ? {} : { hint: next.hint }),
    ...(row.lease === undefined ? {} : { lease: { ...row.lease, expires: time + leaseMs } }),
  }
}

/** The row with its lease for another while, or (`ended`) given back. The same row when there is none. */
export function renewedRow(
  place: VolumePlace,
  row: VolumeRow,
  {
    epoch,
    ended,
    time,
  }: { readonly epoch: number; readonly ended: boolean; readonly time: number },
): VolumeRow {
  if (row.epoch !== epoch)
    throw fork(place, "fenced", `epoch ${row.epoch}, the newest lease's`, `epoch ${epoch}`)
  if (row.lease === undefined) return row
  return { ...row, lease: { ...row.lease, expires: ended ? time : time + leaseMs } }
}

/** The volume for which a lease was made, not another in its place. */
export function requireVolume(
  request: VolumePlace & { readonly id: string },
  row: VolumeRow | undefined,
): VolumeRow {
  if (row === undefined)
    throw new CofferError(
      "refused",
      `volume: wanted one that the CAS has, found ${volumeKey(request)}`,
      { reason: "volume-unknown" },
    )
  if (row.id === request.id) return row
  throw fork(request, "volume-reset", `the volume ${row.id}`, `${request.id}, which was reset`)
}

export function fork(
  place: VolumePlace,
  reason: string,
  wanted: string,
  found: string,
): CofferError {
  return new CofferError(
    "rollback",
    `volume ${volumeKey(place)}: wanted ${wanted}, found ${found}`,
    {
      reason,
      facts: { volume: volumeKey(place), wanted, found },
      hint: "another writer has the volume, or an older copy of it was put back: this writer must stop",
    },
  )
}

function short(tag: string): string {
  return `${tag.slice(0, 16)}…`
}
