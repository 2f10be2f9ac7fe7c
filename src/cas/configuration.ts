import { z } from "zod"
import type { EvidenceClaims } from "../attest/index.ts"
import { CofferError } from "../errors.ts"
import {
  type AccessRequest,
  type Service,
  substituteBytes,
  substituteText,
  type VolumePolicy,
} from "../policy/index.ts"
import type { AttestRequest } from "./attestation.ts"
import { signedHeadSchema } from "./head.ts"
import type { Transaction } from "./ledger.ts"
import { readPolicy, type StoredPolicy } from "./policies.ts"
import { resolveSecret, type SecretRow, secretPart } from "./secrets.ts"
import {
  hintSchema,
  leaseMs,
  leaseToken,
  newVolume,
  readVolume,
  takeLease,
  type VolumePlace,
  type VolumeRow,
  volumeKey,
} from "./volumes.ts"

const hex32 = z.string().regex(/^[0-9a-f]{64}$/)
const count = z.int().min(0)

/** What an accepted service gets: spec/cas-protocol.md section 4. The client checks it with the same schema. */
const grantSchema = z.strictObject({
  name: z.string(),
  instance: count,
  id: hex32,
  access: z.enum(["read", "write"]),
  protection: z.enum(["encrypted", "authenticated"]),
  /** Newest last. Empty for a reader of an authenticated volume, who verifies from the tag alone. */
  keys: z.array(z.strictObject({ generation: count, key: hex32 })),
  freshness: z.union([z.literal("strict"), z.strictObject({ count, age: count })]),
  state: z.enum(["new", "open"]),
  sequence: count,
  tag: hex32,
  hint: hintSchema.optional(),
  epoch: count,
  token: hex32,
  leaseMs: count,
  /** The newest authorised restore, which the next open commit names. */
  restored: z.strictObject({ from: hex32, to: hex32, time: z.int() }).optional(),
})
export type VolumeGrant = Readonly<z.infer<typeof grantSchema>>

export const configurationSchema = z.strictObject({
  version: z.literal(1),
  policy: z.string(),
  policyHash: hex32,
  service: z.string(),
  /** The platform of the policy that accepted the evidence, and its type: `insecure-sim` is said in the first line of every report. */
  platform: z.string(),
  platformType: z.string(),
  argv: z.array(z.string()).optional(),
  env: z.record(z.string(), z.string()),
  /** `content`: base64. */
  files: z.array(
    z.strictObject({
      path: z.string(),
      content: z.string(),
      mode: z.string(),
      uid: count,
      gid: count,
    }),
  ),
  regions: z.array(
    z.strictObject({ path: z.string(), tag: hex32.optional(), key: hex32.optional() }),
  ),
  volumes: z.array(grantSchema),
})
export type Configuration = Readonly<z.infer<typeof configurationSchema>>
export const answerSchema = configurationSchema.extend({ head: signedHeadSchema })

export interface ConfigureContext {
  readonly stored: StoredPolicy
  readonly request: AttestRequest
  readonly access: AccessRequest
  readonly claims: EvidenceClaims
  readonly platform: string
  readonly tokenKey: Uint8Array
}

export async function configure(
  tx: Transaction,
  context: ConfigureContext,
): Promise<Configuration> {
  const { stored, access, claims } = context
  const service = stored.policy.services[access.service]
  if (service === undefined) throw new TypeError("a service that was accepted is in the policy")
  const partOf = await secretsOf(tx, stored, service)
  const at = `services.${access.service}`
  const volumes: VolumeGrant[] = []
  for (const wanted of access.volumes) volumes.push(await grant(tx, context, wanted))
  return {
    version: 1,
    policy: stored.policy.name,
    policyHash: stored.hash,
    service: access.service,
    platform: context.platform,
    platformType: claims.platform.type,
    ...(service.argv === undefined
      ? {}
      : { argv: service.argv.map((text, i) => substituteText(text, partOf, `${at}.argv[${i}]`)) }),
    env: Object.fromEntries(
      Object.entries(service.env).map(([name, text]) => [
        name,
        substituteText(text, partOf, `${at}.env.${name}`),
      ]),
    ),
    files: Object.entries(service.files).map(([path, file]) => ({
      path,
      content: Buffer.from(substituteBytes(file.content, partOf)).toString("base64"),
      mode: file.mode,
      uid: file.uid,
      gid: file.gid,
    })),
    regions: Object.entries(service.regions).map(([path, { key, tag }]) => ({
      path,
      ...(tag === undefined ? {} : { tag }),
      ...(key === undefined ? {} : { key: regionKey(partOf(key, "raw"), key) }),
    })),
    volumes,
  }
}

function regionKey(bytes: Uint8Array, name: string): string {
  const text = Buffer.from(bytes).toString("latin1").trim()
  if (/^[0-9a-f]{64}$/.test(text)) return text
  if (bytes.length === 32) return Buffer.from(bytes).toString("hex")
  throw new CofferError(
    "config",
    `secrets.${name}: wanted a key of 32 bytes or 64 hex digits, found ${bytes.length} bytes`,
  )
}

/** Every secret that the service's templates name, resolved before the first is put in. */
async function secretsOf(
  tx: Transaction,
  stored: StoredPolicy,
  service: Service,
): Promise<(name: string, part: string | undefined) => Uint8Array> {
  const texts = [
    ...(service.argv ?? []),
    ...Object.values(service.env),
    ...Object.values(service.files).map(({ content }) => content),
  ]
  const named = texts.flatMap((text) =>
    [...text.matchAll(/\$\$secret:([a-z0-9._-]+)/g)].map(([, name = ""]) => name),
  )
  const keys = Object.values(service.regions).flatMap(({ key }) => key ?? [])
  const rows = new Map<string, SecretRow>()
  for (const name of new Set([...named, ...keys]))
    rows.set(name, await resolveSecret(tx, stored.policy, name, (other) => readPolicy(tx, other)))
  return (name, part) => {
    const row = rows.get(name)
    if (row === undefined) throw new TypeError(`secret ${name} was resolved before`)
    return secretPart(row, part, name)
  }
}

async function grant(
  tx: Transaction,
  context: ConfigureContext,
  wanted: AccessRequest["volumes"][number],
): Promise<VolumeGrant> {
  const { stored, request, access, claims, tokenKey } = context
  const place: VolumePlace = {
    policy: stored.policy.name,
    volume: wanted.name,
    instance: wanted.instance,
  }
  const described = stored.policy.volumes[wanted.name]
  if (described === undefined) throw new TypeError("a volume that was granted is in the policy")
  const before = (await readVolume(tx, place)) ?? newVolume(described.protection, 0, tx.time)
  requireSameProtection(place, before, described)
  const row =
    wanted.access === "read"
      ? await keepForReader(tx, place, before)
      : await takeLease(tx, place, before, {
          service: request.service,
          node: claims.nodeKey,
          accepted: { platform: context.platform, enclave: acceptedEnclave(access.enclave) },
          takeover:
            request.volumes?.find(
              ({ name, instance }) => name === wanted.name && instance === wanted.instance,
            )?.takeover ?? false,
        })
  return grantOf(row, place, wanted.access, described, tokenKey)
}

function acceptedEnclave({ mrSigner, ...rest }: AccessRequest["enclave"]) {
  return { ...rest, ...(mrSigner === undefined ? {} : { mrSigner }) }
}

/** A policy cannot turn an encrypted volume into a readable one, or the other way round. */
function requireSameProtection(place: VolumePlace, row: VolumeRow, described: VolumePolicy): void {
  if (row.protection === described.protection) return
  throw new CofferError(
    "refused",
    `volumes.${place.volume}.protection: wanted ${row.protection}, as the volume was made, found ${described.protection}`,
    {
      reason: "policy-volumes-protection",
      facts: {
        field: `volumes.${place.volume}.protection`,
        wanted: row.protection,
        found: described.protection,
      },
      hint: "make another volume, or reset this one",
    },
  )
}

async function keepForReader(
  tx: Transaction,
  place: VolumePlace,
  row: VolumeRow,
): Promise<VolumeRow> {
  if ((await tx.get("volumes", volumeKey(place))) === undefined)
    await tx.put("volumes", volumeKey(place), row)
  return row
}

function grantOf(
  row: VolumeRow,
  place: VolumePlace,
  access: "read" | "write",
  described: VolumePolicy,
  tokenKey: Uint8Array,
): VolumeGrant {
  const token = leaseToken(tokenKey, {
    ...place,
    id: row.id,
    epoch: access === "read" ? 0 : row.epoch,
    access,
  })
  const blind = access === "read" && row.protection === "authenticated"
  return {
    name: place.volume,
    instance: place.instance,
    id: row.id,
    access,
    protection: row.protection,
    keys: blind ? [] : row.keys,
    freshness: described.freshness,
    state: row.state,
    sequence: row.sequence,
    tag: row.tag,
    epoch: row.epoch,
    token,
    leaseMs,
    ...(row.hint === undefined ? {} : { hint: row.hint }),
    ...(row.restored === undefined ? {} : { restored: row.restored }),
  }
}
