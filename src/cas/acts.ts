import { type KeyObject, sign } from "node:crypto"
import { z } from "zod"
import { rawPublicKey, verifyEd25519 } from "../attest/index.ts"
import { canonicalJson, concatBytes, fromHex, type JsonValue, toHex } from "../bytes/index.ts"
import { labelBytes, sha256 } from "../crypto/index.ts"
import { CofferError } from "../errors.ts"
import { nameSchema, type Policy, type Quorum } from "../policy/index.ts"
import { positionSchema } from "./volumes.ts"

/**
 * Acts: what people do at a CAS, signed by access keys of the policy. Each names the CAS and an end of validity; each is
 * compare-and-swap on what it changes (predecessor, current tag, volume id), so a recorded act does nothing twice.
 */
const hex32 = z.string().regex(/^[0-9a-f]{64}$/)
const volume = { volume: nameSchema, instance: z.int().min(0).max(9999) }

export const actBodySchema = z.discriminatedUnion("verb", [
  z.strictObject({
    verb: z.literal("put-policy"),
    document: z.unknown(),
    /** Values of secrets of kind `given`, base64. */
    given: z.record(nameSchema, z.base64().max(1_400_000)),
  }),
  z.strictObject({ verb: z.literal("read-policy") }),
  /** Those that one of the signing keys may read; `policy` is empty. */
  z.strictObject({
    verb: z.literal("list-policies"),
    /** The last name of the page before. */
    after: nameSchema.optional(),
  }),
  z.strictObject({
    verb: z.literal("restore-volume"),
    ...volume,
    current: positionSchema,
    target: positionSchema,
  }),
  z.strictObject({
    verb: z.literal("reset-volume"),
    ...volume,
    id: hex32,
    current: positionSchema,
  }),
  z.strictObject({
    verb: z.literal("rekey-volume"),
    ...volume,
    id: hex32,
    generation: z.int().min(0),
  }),
])
export type ActBody = z.infer<typeof actBodySchema>

export const actSchema = z.strictObject({
  version: z.literal(1),
  cas: hex32,
  policy: z.union([nameSchema, z.literal("")]),
  /** Unix seconds; at most a week ahead, so that M of N people can sign. */
  expires: z.int(),
  body: actBodySchema,
})
export type Act = Readonly<z.infer<typeof actSchema>>

export const signedActSchema = z.strictObject({
  act: actSchema,
  signatures: z
    .array(z.strictObject({ key: hex32, signature: z.string().regex(/^[0-9a-f]{128}$/) }))
    .min(1)
    .max(64),
})
export type SignedAct = Readonly<z.infer<typeof signedActSchema>>

const maxAhead = 7 * 86_400

function message(act: Act): Uint8Array {
  return concatBytes(labelBytes("policyAct"), canonicalJson(act as JsonValue))
}

export function signAct(act: Act, keys: readonly KeyObject[]): SignedAct {
  const bytes = message(act)
  return {
    act,
    signatures: keys.map((key) => ({
      key: toHex(rawPublicKey(key)),
      signature: toHex(sign(null, bytes, key)),
    })),
  }
}

/** The keys that have signed `signed`, each signature checked; whether they may do anything is another question. */
export function signersOf(signed: SignedAct, context: ActContext): readonly string[] {
  requireCurrent(signed.act, context)
  const bytes = message(signed.act)
  return signed.signatures.flatMap(({ key, signature }) =>
    holds(bytes, key, signature) ? [key] : [],
  )
}

export function signatureHolds(act: Act, key: string, signature: string): boolean {
  return holds(message(act), key, signature)
}

function holds(bytes: Uint8Array, key: string, signature: string): boolean {
  return verifyEd25519(
    fromHex(key) ?? new Uint8Array(),
    bytes,
    fromHex(signature) ?? new Uint8Array(),
  )
}

/** What an act is known by: it is the same whoever has signed it. */
export function actDigest(act: Act): string {
  return toHex(sha256(message(act)))
}

interface ActContext {
  readonly casKey: string
  /** Milliseconds. */
  readonly now: number
}

function requireCurrent(act: Act, context: ActContext): void {
  if (act.cas !== context.casKey)
    throw refusedAct("act.cas", `this CAS, ${context.casKey}`, act.cas)
  const seconds = Math.floor(context.now / 1000)
  if (act.expires < seconds || act.expires > seconds + maxAhead)
    throw refusedAct(
      "act.expires",
      `a time from now (${seconds}) to ${maxAhead} s later`,
      String(act.expires),
    )
}

export function refusedAct(field: string, wanted: string, found: string): CofferError {
  return new CofferError("refused", `${field}: wanted ${wanted}, found ${found}`, {
    reason: `act-${field.replace(/.*\./, "")}`,
    facts: { field, wanted, found },
  })
}

/** Throws `refused` unless enough keys of `verb`'s quorum have signed this act, for this CAS, and in time. */
export function requireQuorum(
  signed: SignedAct,
  policy: Policy,
  verb: "read" | "update" | "restore",
  context: ActContext,
): readonly string[] {
  const { act } = signed
  requireCurrent(act, context)
  const quorum: Quorum = policy.access[verb] ?? policy.access.update
  const bytes = message(act)
  const names = new Set<string>()
  for (const { key, signature } of signed.signatures) {
    const name = quorum.of.find((one) => policy.access.keys[one] === key)
    if (name === undefined) continue
    if (!holds(bytes, key, signature))
      throw refusedAct(
        "act.signatures",
        `a signature of ${name} over this act`,
        "one that does not verify",
      )
    names.add(name)
  }
  if (names.size < quorum.need)
    throw refusedAct(
      `access.${verb}`,
      `${quorum.need} of ${quorum.of.join(", ")}`,
      names.size === 0 ? "none of them" : [...names].join(", "),
    )
  return [...names].toSorted()
}
