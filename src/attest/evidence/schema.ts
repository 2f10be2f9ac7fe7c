import { z } from "zod"
import { CofferError } from "../../errors.ts"

/** Lower-case hex of exactly `size` bytes. */
function hexOf(size: number) {
  return z
    .string()
    .regex(/^[0-9a-f]*$/, "wanted lower-case hex")
    .length(size * 2)
}

/** Lower-case hex of at most `max` bytes, not empty. */
function hexUpTo(max: number) {
  return z
    .string()
    .regex(/^(?:[0-9a-f]{2})+$/, "wanted lower-case hex")
    .max(max * 2)
}

const quoteMax = 16384
const bound = { nonce: hexOf(32), nodeKey: hexOf(32) }

const simSchema = z.strictObject({
  type: z.literal("insecure-sim"),
  ...bound,
  key: hexOf(32),
  signature: hexOf(64),
})

const tdxSchema = z.strictObject({ type: z.literal("tdx"), ...bound, quote: hexUpTo(quoteMax) })

const snpSchema = z.strictObject({
  type: z.literal("sev-snp"),
  ...bound,
  report: hexOf(1184),
  /** DER certificates as the host gave them (VCEK or VLEK, ASK or ASVK); the root is pinned, not taken from here. */
  certificates: z.array(hexUpTo(8192)).max(8),
})

const tpmSchema = z.strictObject({
  type: z.literal("tpm2"),
  ...bound,
  /** TPMS_ATTEST, TPMT_SIGNATURE, TPMT_PUBLIC of the attestation key. */
  message: hexUpTo(4096),
  signature: hexUpTo(4096),
  ak: hexUpTo(4096),
  /** Values of the quoted PCRs: `sha256:16` to hex. They count only when they agree with the quote's digest. */
  pcrs: z.record(z.string().regex(/^sha(?:1|256|384|512):\d{1,2}$/), hexUpTo(64)),
})

/** An Azure confidential VM: the paravisor's report names the virtual TPM's key; the certificates are the VCEK and its issuer. */
const azureSchema = z.strictObject({
  type: z.literal("azure"),
  ...bound,
  hcl: hexOf(2600),
  message: hexUpTo(4096),
  signature: hexUpTo(4096),
  pcrs: z.record(z.string().regex(/^sha256:\d{1,2}$/), hexUpTo(64)),
  certificates: z.array(hexUpTo(8192)).max(8),
})

/** An SGX enclave that runs elsewhere: its quote's report data binds nonce and ephemeral key itself; no node agent. */
const sgxSchema = z.strictObject({ type: z.literal("sgx"), quote: hexUpTo(quoteMax) })

const platformSchema = z.discriminatedUnion("type", [
  simSchema,
  tdxSchema,
  snpSchema,
  tpmSchema,
  azureSchema,
  sgxSchema,
])

const evidenceSchema = z.strictObject({
  version: z.literal(1),
  platform: platformSchema,
  /** The enclave report and the node key's signature; absent for `sgx` only. */
  report: z.strictObject({ body: hexOf(144), signature: hexOf(64) }).optional(),
  ephemeralKey: hexOf(32),
})

export type PlatformEvidence = Readonly<z.infer<typeof platformSchema>>
/** Evidence that a node agent vouches with. */
export type NodeEvidence = Exclude<PlatformEvidence, { type: "sgx" }>
export type Evidence = Readonly<z.infer<typeof evidenceSchema>>

/** Foreign JSON as evidence; anything more, less or else is refused with the field's name. */
export function parseEvidence(value: unknown): Evidence {
  return parseWith(evidenceSchema, value, "evidence")
}

/** The same for platform evidence alone. */
export function parsePlatformEvidence(value: unknown): PlatformEvidence {
  return parseWith(platformSchema, value, "platform evidence")
}

function parseWith<S extends z.ZodType>(schema: S, value: unknown, what: string): z.output<S> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const [issue] = result.error.issues
  const field = [what, ...(issue?.path ?? [])].map(String).join(".")
  throw new CofferError("refused", `${field}: ${issue?.message ?? "is not evidence"}`, {
    reason: "evidence-malformed",
    facts: { field },
  })
}
