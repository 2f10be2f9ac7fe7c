import { z } from "zod"
import {
  hashSchema,
  idSchema,
  nameSchema,
  pathSchema,
  patternSchema,
  signals,
  textSchema,
  variableSchema,
} from "./fields.ts"
import { parseYaml } from "./yaml-document.ts"

/** `64MiB`, `1GiB`, or bytes. */
const sizeSchema = z
  .union([z.int(), z.string()], { error: "a size such as 64MiB" })
  .transform((value, context) => {
    const bytes = typeof value === "number" ? value : bytesOfSize(value)
    if (bytes !== undefined && Number.isSafeInteger(bytes) && bytes >= 4096) return bytes
    context.addIssue({ code: "custom", message: "a size such as 64MiB, of 4096 bytes at least" })
    return z.NEVER
  })

const units = ["", "KiB", "MiB", "GiB", "TiB"]

function bytesOfSize(text: string): number | undefined {
  const [, digits, unit = ""] = /^(\d{1,15}) ?([KMGT]iB)?$/.exec(text) ?? []
  return digits === undefined ? undefined : Number(digits) * 1024 ** units.indexOf(unit)
}

/** A value that YAML reads as a number or a truth value is meant as text here. */
const scalarSchema = z
  .union([textSchema, z.number(), z.boolean()], { error: "text" })
  .transform(String)

const regionSchema = z.strictObject({
  path: pathSchema,
  protection: z.enum(["measured", "authenticated", "encrypted", "none"]),
  lifetime: z.enum(["ephemeral", "persistent"]).optional(),
  volume: nameSchema.optional(),
  seed: z.literal("image").optional(),
  content: z.enum(["image", "empty"]).optional(),
  size: sizeSchema.optional(),
  source: z.literal("host").optional(),
  format: z.enum(["file", "directory"]).optional(),
  exec: z.boolean().optional(),
  measured: z.boolean().optional(),
})

/** Names alone, or with the pattern of their values. */
const allowSchema = z
  .union([z.array(variableSchema), z.record(variableSchema, patternSchema)], {
    error: "a list of names, or a mapping of names to patterns",
  })
  .transform((allow): Record<string, string | undefined> => {
    return Array.isArray(allow) ? Object.fromEntries(allow.map((name) => [name, undefined])) : allow
  })

const serviceSchema = z.strictObject({
  binary: pathSchema.optional(),
  argv: z.array(scalarSchema).min(1, "at least the program").optional(),
  args: z
    .strictObject({
      set: z.array(scalarSchema).optional(),
      allow: z.array(patternSchema).default([]),
    })
    .prefault({}),
  user: z.union([idSchema, z.string()], { error: "a user: name, uid or uid:gid" }).optional(),
  groups: z.array(idSchema).default([]),
  cwd: pathSchema.optional(),
  exec: z.array(z.array(scalarSchema).min(1, "at least the program")).default([]),
  stdin: z.enum(["none", "inherit"]).default("none"),
  readOnly: z.boolean().default(false),
  debug: z.boolean().default(false),
  stopSignal: z.enum(signals).optional(),
})

/** Paths that `protect --minimise` embeds though the trace did not see them. */
const globSchema = z
  .string({ error: "an absolute path, with * ? ** where wanted" })
  .max(4095, "at most 4095 characters")
  .regex(/^\/[^\0]*$/, "an absolute path, with * ? ** where wanted")

const sourceSchema = z.strictObject({
  version: z.literal(1, { error: "1" }),
  name: nameSchema.optional(),
  service: serviceSchema.prefault({}),
  env: z
    .strictObject({
      set: z.record(variableSchema, scalarSchema).optional(),
      allow: allowSchema.prefault([]),
    })
    .prefault({}),
  regions: z.array(regionSchema).max(1024).optional(),
  keep: z.array(globSchema).max(1024).default([]),
  cas: z.strictObject({ publicKey: hashSchema }).optional(),
})

/** `coffer.yaml`, checked. A field that is undefined has its default taken from the image. */
export type ServiceSource = Readonly<z.output<typeof sourceSchema>>
export type RegionSource = Readonly<z.output<typeof regionSchema>>

/** YAML or JSON. `file` is for messages only: `FILE:LINE:COLUMN: FIELD: wanted …, found …`, a `config` error. */
export function parseCofferYaml(text: string, file: string): ServiceSource {
  return parseYaml(text, file, sourceSchema)
}

/** What stands for a `coffer.yaml` that is not there: all defaults, so that everything is measured. */
export function everythingMeasured(): ServiceSource {
  return sourceSchema.parse({ version: 1 })
}
