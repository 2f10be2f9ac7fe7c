import { z } from "zod"
import { machines } from "../elf/index.ts"
import {
  digestSchema,
  hashSchema,
  idSchema,
  nameSchema,
  pathSchema,
  patternSchema,
  textSchema,
  variableSchema,
} from "./fields.ts"
import { manifestFormat, signals } from "./rules.ts"

// What counts, and says what is wrong. A start asks `measured-usual.ts` first.

const offsetSchema = z.int().min(0).multipleOf(4096)

/** `exec`: files in it may be executed. */
const regionSchema = z.discriminatedUnion("kind", [
  /** Of the binary filesystem, inside another region. */
  z.strictObject({ kind: z.literal("measured"), path: pathSchema }),
  /** Content of the image in a store beside the sealed binary; changes are forgotten. With `tag` it is measured as well. */
  z.strictObject({
    kind: z.literal("image"),
    path: pathSchema,
    protection: z.enum(["authenticated", "encrypted"]),
    store: nameSchema,
    exec: z.boolean(),
    tag: hashSchema.optional(),
  }),
  /** Empty at start, gone at the end; encrypted, or in the guest's memory. `size` in bytes, at most. */
  z.strictObject({
    kind: z.literal("scratch"),
    path: pathSchema,
    exec: z.boolean(),
    size: z.int().min(4096).optional(),
  }),
  /** Persistent. `seed`: the first start copies the image's content in. */
  z.strictObject({
    kind: z.literal("volume"),
    path: pathSchema,
    protection: z.enum(["authenticated", "encrypted"]),
    volume: nameSchema,
    exec: z.boolean(),
    seed: z.boolean(),
  }),
  /** The host's own, unprotected. Formats that we know are parsed, bounded and written anew. */
  z.strictObject({
    kind: z.literal("host"),
    path: pathSchema,
    format: z.enum(["resolv.conf", "hosts", "hostname", "file", "directory"]),
  }),
])

const manifestSchema = z.strictObject({
  format: z.literal(manifestFormat),
  arch: z.enum(machines),
  name: nameSchema,
  /** The executable, in the binary filesystem. */
  binary: pathSchema,
  /** All of it, `argv[0]` first. */
  argv: z.array(textSchema).min(1).max(4096),
  /** What the host may append: each argument must match one of the patterns. */
  args: z.strictObject({ allow: z.array(patternSchema).max(256) }),
  cwd: pathSchema,
  user: z.strictObject({ uid: idSchema, gid: idSchema, groups: z.array(idSchema).max(65_536) }),
  /** `allow`: the variables that the host may set, each with the pattern of its value. Nothing else gets in. */
  env: z.strictObject({
    set: z.record(variableSchema, textSchema),
    allow: z.record(variableSchema, patternSchema),
  }),
  /** Commands that may be exec'ed into the enclave, by their whole argv. */
  exec: z.array(z.array(textSchema).min(1).max(256)).max(256),
  stdin: z.enum(["none", "inherit"]),
  readOnly: z.boolean(),
  debug: z.boolean(),
  stopSignal: z.enum(signals),
  /** Sorted by path, no path twice. What is in none of them is measured. */
  regions: z.array(regionSchema).max(1024),
  /** The CAS that the enclave talks to, by its Ed25519 key (32 bytes, hex). */
  cas: z.strictObject({ publicKey: hashSchema }).optional(),
  /** What the binary filesystem was made from. */
  source: z.strictObject({ image: digestSchema }).optional(),
  binfs: z.strictObject({ offset: offsetSchema, size: offsetSchema }),
  verity: z.strictObject({ offset: offsetSchema, size: offsetSchema, rootHash: hashSchema }),
})

export type MeasuredManifest = Readonly<z.output<typeof manifestSchema>>
export type Region = Readonly<z.output<typeof regionSchema>>
/** All that is known before the binary filesystem is written. */
export type ManifestDraft = Omit<MeasuredManifest, "binfs" | "verity">

/** What is wrong with it, if it is not the manifest. */
export function readManifest(value: unknown): MeasuredManifest | string {
  const parsed = manifestSchema.safeParse(value)
  return parsed.success ? parsed.data : issueText(parsed.error)
}

function issueText(error: z.ZodError): string {
  const [issue] = error.issues
  return `${issue?.path.map(String).join(".") ?? ""}: ${issue?.message ?? "another value"}`
}
