import { z } from "zod"
import { nameSchema } from "../policy/index.ts"
import { signedHeadSchema } from "./head.ts"
import { hintSchema, positionSchema } from "./volumes.ts"

/** The requests of a lease's holder. Each names its volume and shows the token that the answer gave. */
const hex32 = z.string().regex(/^[0-9a-f]{64}$/)

const placeFields = {
  policy: nameSchema,
  volume: nameSchema,
  instance: z.int().min(0).max(9999),
  id: hex32,
  token: hex32,
}

export const moveRequestSchema = z.strictObject({
  ...placeFields,
  epoch: z.int().min(1),
  expected: positionSchema,
  next: z.strictObject({ ...positionSchema.shape, hint: hintSchema.optional() }),
})
export type MoveRequest = Readonly<z.infer<typeof moveRequestSchema>>

export const currentRequestSchema = z.strictObject({
  ...placeFields,
  access: z.enum(["read", "write"]),
  epoch: z.int().min(0),
  /** The newest signed head that the volume has: a CAS that is behind its own word says so. */
  seen: signedHeadSchema.optional(),
})
export type CurrentRequest = Readonly<z.infer<typeof currentRequestSchema>>

export const leaseRequestSchema = z.strictObject({ ...placeFields, epoch: z.int().min(1) })
export type LeaseCall = Readonly<z.infer<typeof leaseRequestSchema>>

export const rekeyRequestSchema = z.strictObject({
  ...placeFields,
  epoch: z.int().min(1),
  /** The oldest generation that is still needed; those before it are dropped for ever. */
  keepFrom: z.int().min(0),
})
export type RekeyRequest = Readonly<z.infer<typeof rekeyRequestSchema>>

/** What a holder learns back: the record's position, and the signed head to keep in the volume. */
export const positionReplySchema = z.strictObject({
  state: z.enum(["new", "open"]),
  sequence: z.int().min(0),
  tag: hex32,
  hint: hintSchema.optional(),
  epoch: z.int().min(0),
  head: signedHeadSchema,
})
export type PositionReply = Readonly<z.infer<typeof positionReplySchema>>

export const keysReplySchema = z.strictObject({
  keys: z.array(z.strictObject({ generation: z.int().min(0), key: hex32 })),
  head: signedHeadSchema,
})
export type KeysReply = Readonly<z.infer<typeof keysReplySchema>>

export const infoSchema = z.strictObject({
  cas: hex32,
  version: z.string(),
  /** Milliseconds. */
  time: z.int(),
  head: signedHeadSchema,
})
export type CasInfo = Readonly<z.infer<typeof infoSchema>>

export const challengeSchema = z.strictObject({ nonce: hex32, cas: hex32 })
