import { z } from "zod"
import {
  absolutePathSchema,
  atMost,
  countSchema,
  durationSchema,
  hexSchema,
  nameSchema,
  versionSchema,
} from "./fields.ts"
import { platformsSchema } from "./platform.ts"

/** The policy language, version 1: spec/policy.md. Unknown keys are refused everywhere. */

const templateSchema = z
  .string()
  .max(1_048_576)
  .refine((text) => !text.includes("\0"), { error: "text with no NUL" })

const envNameSchema = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,254}$/, {
  error: "a variable's name: letters, digits, '_', not beginning with a digit",
})

const signerSchema = z.strictObject({
  mrsigner: hexSchema(32),
  product: countSchema(0, 65_535),
  minSvn: countSchema(0, 65_535),
})

const fileSchema = z.strictObject({
  content: templateSchema,
  mode: z
    .string()
    .regex(/^0[0-7]{3}$/, { error: 'a mode such as "0400"' })
    .default("0400"),
  uid: countSchema(0, 4_294_967_294).default(0),
  gid: countSchema(0, 4_294_967_294).default(0),
})

const serviceSchema = z.strictObject({
  measurements: z.array(hexSchema(32)).max(64).default([]),
  signer: signerSchema.optional(),
  platforms: z.array(nameSchema).min(1, "at least one platform").max(32),
  minRuntime: versionSchema.default("0.0.0"),
  insecureDebug: z.boolean().default(false),
  argv: z.array(templateSchema).max(1024).optional(),
  env: atMost(1024, z.record(envNameSchema, templateSchema)).default({}),
  files: atMost(1024, z.record(absolutePathSchema, fileSchema)).default({}),
  volumes: atMost(64, z.record(nameSchema, z.enum(["read", "write"]))).default({}),
  /**
   * Encrypted or authenticated image content: its key, and the tag of the one content that is accepted. Without a tag it is
   * the one in the measured manifest.
   */
  regions: atMost(
    256,
    z.record(
      absolutePathSchema,
      z.strictObject({ key: nameSchema.optional(), tag: hexSchema(32).optional() }),
    ),
  ).default({}),
})

const strictFreshness = z.literal("strict", { error: '"strict", or count and age' })
const periodicFreshness = z.strictObject({
  count: countSchema(1, 1_000_000),
  age: durationSchema(3600),
})

const volumeSchema = z.strictObject({
  protection: z.enum(["encrypted", "authenticated"]).default("encrypted"),
  /** `strict`: fsync waits for the CAS. `{ count, age }`: what an adversary could remove is at most this. */
  freshness: z.union([strictFreshness, periodicFreshness]).default("strict"),
  /** One volume for each instance `0` to `instances - 1`, for replicas. */
  instances: countSchema(1, 10_000).default(1),
})

const exportSchema = z.array(nameSchema).max(1024).default([])
const lifetime = durationSchema(36_500 * 86_400)
const commonNameSchema = z
  .string()
  .regex(/^[\x20-\x7e]{1,64}$/, { error: "1 to 64 printable ASCII characters" })

const secretSchema = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("random"),
    size: countSchema(1, 65_536).default(32),
    export: exportSchema,
  }),
  z.strictObject({
    kind: z.literal("ascii"),
    size: countSchema(1, 4096).default(32),
    export: exportSchema,
  }),
  z.strictObject({
    kind: z.literal("given"),
    maxSize: countSchema(1, 1_048_576).default(65_536),
    export: exportSchema,
  }),
  z.strictObject({
    kind: z.literal("x509-ca"),
    commonName: commonNameSchema,
    validFor: lifetime.default(3650 * 86_400),
    export: exportSchema,
  }),
  z.strictObject({
    kind: z.literal("x509"),
    ca: nameSchema,
    commonName: commonNameSchema,
    dns: z
      .array(
        z
          .string()
          .max(253)
          .regex(/^(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*$/, { error: "a host name in lower case" }),
      )
      .max(64)
      .default([]),
    usage: z.enum(["server", "client", "both"]).default("server"),
    validFor: lifetime.default(90 * 86_400),
    renewBefore: lifetime.default(30 * 86_400),
    export: exportSchema,
  }),
  z.strictObject({
    kind: z.literal("import"),
    policy: nameSchema,
    secret: nameSchema,
    /** The hash of the exporting document, when another document of that name must not do. */
    hash: hexSchema(32).optional(),
  }),
])

const quorumSchema = z.strictObject({
  of: z.array(nameSchema).min(1, "at least one key").max(64),
  need: countSchema(1, 64).default(1),
})

const accessSchema = z.strictObject({
  /** Ed25519 public keys, 32 bytes in hex: `coffer keygen --access`. */
  keys: z
    .record(nameSchema, hexSchema(32))
    .refine((keys) => Object.keys(keys).length > 0, { error: "at least one key" })
    .refine((keys) => Object.keys(keys).length <= 256, { error: "at most 256 entries" }),
  read: quorumSchema.optional(),
  update: quorumSchema,
  /** Volumes: restore of an older tag, reset, dropping a key. Default: as `update`. */
  restore: quorumSchema.optional(),
})

export const policySchema = z.strictObject({
  version: z.literal(1, { error: "1, the one version of the policy language" }),
  name: nameSchema,
  /** The hash of the document that this one replaces; absent in the first. */
  predecessor: hexSchema(32).optional(),
  services: atMost(256, z.record(nameSchema, serviceSchema)),
  platforms: atMost(64, platformsSchema),
  volumes: atMost(1024, z.record(nameSchema, volumeSchema)).default({}),
  secrets: atMost(256, z.record(nameSchema, secretSchema)).default({}),
  access: accessSchema,
})

/** A document in its normal form: every default filled in. */
export type Policy = z.output<typeof policySchema>
export type Service = Policy["services"][string]
export type VolumePolicy = Policy["volumes"][string]
export type SecretPolicy = Policy["secrets"][string]
export type Quorum = z.output<typeof quorumSchema>
export type Freshness = VolumePolicy["freshness"]
export type VolumeAccess = Service["volumes"][string]
