import { z } from "zod"
import { countSchema, durationSchema, hexSchema, nameSchema } from "./fields.ts"

/**
 * The platforms on which a service may run: reference values and what is tolerated. `src/attest` judges claims by them.
 * An empty list of reference values means "not looked at", and is allowed only where the schema does not ask for more.
 */

const sha384List = z.array(hexSchema(48)).max(64).default([])

/** Intel's names. `UpToDate` is always accepted; what else is tolerated stands here. */
export const tcbStatuses = [
  "SWHardeningNeeded",
  "ConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
  "OutOfDate",
  "OutOfDateConfigurationNeeded",
  "TDRelaunchAdvised",
  "TDRelaunchAdvisedConfigurationNeeded",
] as const

const intelTcb = {
  tolerate: z.array(z.enum(tcbStatuses)).max(tcbStatuses.length).default([]),
  /** Advisories that may be open when a status has some; absent: any that a tolerated status brings. */
  advisories: z
    .array(
      z.string().regex(/^INTEL-[A-Z]{2}-\d{5}$/, { error: "an advisory such as INTEL-SA-00615" }),
    )
    .max(256)
    .optional(),
  minTcbEvaluation: countSchema(0, 1_000_000).default(0),
}

const maxAge = durationSchema(7 * 86_400).default(86_400)

const simSchema = z.strictObject({
  type: z.literal("insecure-sim"),
  /** Public keys of the simulated platforms; empty: any. */
  keys: z.array(hexSchema(32)).max(256).default([]),
  maxAge,
})

const tdxSchema = z.strictObject({
  type: z.literal("tdx"),
  mrtd: z.array(hexSchema(48)).min(1, "at least one reference value").max(64),
  rtmr0: sha384List,
  rtmr1: sha384List,
  rtmr2: sha384List,
  mrConfigId: sha384List,
  mrOwner: sha384List,
  mrOwnerConfig: sha384List,
  insecureDebug: z.boolean().default(false),
  ...intelTcb,
  maxAge,
})

const sgxSchema = z.strictObject({
  /** The enclave speaks for itself, with no agent: the service's measurements and signer judge it. */
  type: z.literal("sgx"),
  insecureDebug: z.boolean().default(false),
  ...intelTcb,
  maxAge,
})

const tcbPart = countSchema(0, 255).default(0)

const snpSchema = z.strictObject({
  type: z.literal("sev-snp"),
  products: z
    .array(z.enum(["milan", "genoa", "turin"]))
    .min(1, "at least one product")
    .max(3),
  measurement: z.array(hexSchema(48)).min(1, "at least one reference value").max(64),
  minTcb: z
    .strictObject({
      fmc: tcbPart,
      bootloader: tcbPart,
      tee: tcbPart,
      snp: tcbPart,
      microcode: tcbPart,
    })
    .prefault({}),
  minGuestSvn: countSchema(0, 4_294_967_295).default(0),
  maxVmpl: countSchema(0, 3).default(0),
  hostData: z.array(hexSchema(32)).max(64).default([]),
  idKeyDigest: z.array(hexSchema(48)).max(64).default([]),
  chipId: z.array(hexSchema(64)).max(1024).default([]),
  allowSmt: z.boolean().default(true),
  insecureDebug: z.boolean().default(false),
  insecureMigration: z.boolean().default(false),
  maxAge,
})

/** PCR number to the values that are accepted (SHA-256 bank). */
const pcrsSchema = z
  .record(
    z.string().regex(/^([0-9]|1[0-9]|2[0-3])$/, { error: "a PCR from 0 to 23" }),
    z.array(hexSchema(32)).min(1, "at least one value").max(64),
  )
  .refine((pcrs) => Object.keys(pcrs).length > 0, { error: "at least one PCR" })

const tpmSchema = z.strictObject({
  type: z.literal("tpm2"),
  /** TPM Names (`000b` and SHA-256) of enrolled attestation keys: anybody can quote any value with a software TPM. */
  attestationKeys: z.array(hexSchema(34)).min(1, "at least one enrolled key").max(4096),
  pcrs: pcrsSchema,
  maxAge,
})

/**
 * An Azure confidential VM: the hardware's report binds the virtual TPM's key, so no key is enrolled; `hardware` is what the
 * paravisor must be, `pcrs` what it booted. TDX is not there: its quote comes from a service of the host.
 */
const azureSchema = z.strictObject({
  type: z.literal("azure"),
  hardware: snpSchema.omit({ maxAge: true }),
  pcrs: pcrsSchema,
  maxAge,
})

export const platformSchema = z.discriminatedUnion("type", [
  simSchema,
  tdxSchema,
  snpSchema,
  tpmSchema,
  azureSchema,
  sgxSchema,
])

export const platformsSchema = z.record(nameSchema, platformSchema)

export type PlatformPolicy = z.output<typeof platformSchema>
export type SimPlatform = z.output<typeof simSchema>
export type TdxPlatform = z.output<typeof tdxSchema>
export type SnpPlatform = z.output<typeof snpSchema>
export type TpmPlatform = z.output<typeof tpmSchema>
export type SgxPlatform = z.output<typeof sgxSchema>
export type PlatformType = PlatformPolicy["type"]
export type TcbStatus = (typeof tcbStatuses)[number]
