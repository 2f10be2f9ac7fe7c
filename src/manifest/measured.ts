import { z } from "zod"
import { canonicalJson, equalBytes, parseCanonicalJson } from "../bytes/index.ts"
import { machines } from "../elf/index.ts"
import { CofferError } from "../errors.ts"
import {
  digestSchema,
  hashSchema,
  idSchema,
  nameSchema,
  pathSchema,
  patternSchema,
  signals,
  textSchema,
  variableSchema,
} from "./fields.ts"

export const manifestFormat = "coffer/manifest/1"

/** Bytes. The manifest is read into memory whole, before anything about it is known. */
export const maxManifestSize = 1 << 20

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

/** Canonical JSON. A manifest that could not be read again is a `config` error. */
export function serialiseManifest(manifest: MeasuredManifest): Uint8Array {
  const bytes = canonicalJson(manifest)
  if (bytes.length > maxManifestSize)
    throw new CofferError(
      "config",
      `manifest: wanted at most ${maxManifestSize} bytes, found ${bytes.length}`,
    )
  const fault = faultOf(manifest)
  if (fault !== undefined) throw new CofferError("config", `manifest: ${fault}`)
  return bytes
}

/** From the bytes of a sealed binary: canonical, of this version, with no unknown field, or an `integrity` error. */
export function parseManifest(bytes: Uint8Array): MeasuredManifest {
  if (bytes.length > maxManifestSize)
    throw damaged(`wanted at most ${maxManifestSize} bytes, found more`)
  const value = parseCanonicalJson(bytes, "manifest")
  const parsed = manifestSchema.safeParse(value)
  if (!parsed.success) throw damaged(issueText(parsed.error))
  // A schema may drop what it does not see (`__proto__`): then the bytes say more than we would use.
  if (!equalBytes(canonicalJson(parsed.data), bytes))
    throw damaged("wanted known fields only, found another one")
  const fault = orderFault(parsed.data)
  if (fault !== undefined) throw damaged(fault)
  return parsed.data
}

function damaged(text: string): CofferError {
  return new CofferError("integrity", `manifest: ${text}`, { reason: "manifest" })
}

function faultOf(manifest: MeasuredManifest): string | undefined {
  const parsed = manifestSchema.safeParse(manifest)
  return parsed.success ? orderFault(manifest) : issueText(parsed.error)
}

function issueText(error: z.ZodError): string {
  const [issue] = error.issues
  return `${issue?.path.map(String).join(".") ?? ""}: ${issue?.message ?? "another value"}`
}

function orderFault(manifest: MeasuredManifest): string | undefined {
  const paths = manifest.regions.map(({ path }) => path)
  for (const [i, path] of paths.entries()) {
    const before = paths[i - 1]
    if (path === "/") return "regions: / is measured and not listed"
    if (before !== undefined && before >= path)
      return `regions: wanted sorted paths, each once, found ${path} after ${before}`
  }
  const { groups } = manifest.user
  return groups.every((group, i) => i === 0 || (groups[i - 1] ?? 0) < group)
    ? undefined
    : "user.groups: wanted sorted numbers, each once"
}

/** For a name that is allowed with no pattern: anything printable, of a bounded length. */
export const defaultPattern = "[^\\p{Cc}]{0,4096}"

/** Whole matches only. `value` comes from the adversary, so a long one is refused before the pattern sees it. */
export function patternMatches(pattern: string, value: string): boolean {
  return value.length <= 4096 && new RegExp(`^(?:${pattern})$`, "u").test(value)
}
