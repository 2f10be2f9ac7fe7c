import {
  type PlatformPolicy as Accepted,
  type PlatformClaims,
  validatePlatform,
} from "../attest/index.ts"
import { CofferError } from "../errors.ts"
import type { PlatformPolicy, Refusal } from "../policy/index.ts"

/** `undefined` when the verified claims satisfy the policy's platform, else the field with what was wanted and found. */
export function judgePlatform(
  name: string,
  platform: PlatformPolicy,
  claims: PlatformClaims,
  ageMs: number,
): Refusal | undefined {
  const at = `platforms.${name}`
  if (ageMs > platform.maxAge * 1000)
    return {
      field: `${at}.maxAge`,
      wanted: `platform evidence of the last ${platform.maxAge} s`,
      found: `one of ${Math.floor(ageMs / 1000)} s ago`,
    }
  try {
    validatePlatform(claims, acceptedOf(platform))
    return undefined
  } catch (error) {
    if (!(error instanceof CofferError) || error.code !== "refused") throw error
    const { field, wanted, found } = error.facts
    return {
      field: `${at}.${languageName(String(field ?? "type").replace(/^platform\./, ""))}`,
      wanted: String(wanted ?? error.message),
      found: String(found ?? "something else"),
    }
  }
}

/** What `attest` calls a field, in the words of the policy language: people look for it in their file. */
const names: Readonly<Record<string, string>> = {
  mrTd: "mrtd",
  tcbStatuses: "tolerate",
  minEvaluationNumber: "minTcbEvaluation",
  measurements: "measurement",
  idKeyDigests: "idKeyDigest",
  chipIds: "chipId",
  aks: "attestationKeys",
  allowMigrationAgent: "insecureMigration",
}

function languageName(field: string): string {
  const inner = /^hardware\.(.*)$/.exec(field)?.[1]
  if (inner !== undefined) return `hardware.${languageName(inner)}`
  return names[field] ?? field.replace(/^rtmrs\./, "rtmr").replace("pcrs.sha256:", "pcrs.")
}

function some<K extends string>(
  key: K,
  list: readonly string[],
): { readonly [P in K]?: readonly string[] } {
  return list.length === 0 ? {} : ({ [key]: list } as { readonly [P in K]: readonly string[] })
}

/** The policy language's platform as `attest` takes it: an empty list is "not looked at" there as here. */
function acceptedOf(platform: PlatformPolicy): Accepted {
  switch (platform.type) {
    case "insecure-sim":
      return { type: platform.type, ...some("keys", platform.keys) }
    case "tpm2":
      return {
        type: platform.type,
        aks: platform.attestationKeys,
        pcrs: pcrsOf(platform.pcrs),
      }
    case "azure":
      return {
        type: platform.type,
        hardware: snpOf(platform.hardware),
        pcrs: pcrsOf(platform.pcrs),
      }
    case "tdx":
      return {
        type: platform.type,
        mrTd: platform.mrtd,
        rtmrs: rtmrsOf(platform),
        ...some("mrConfigId", platform.mrConfigId),
        ...some("mrOwner", platform.mrOwner),
        ...some("mrOwnerConfig", platform.mrOwnerConfig),
        insecureDebug: platform.insecureDebug,
        ...intelOf(platform),
      }
    case "sgx":
      return { type: platform.type, insecureDebug: platform.insecureDebug, ...intelOf(platform) }
    case "sev-snp":
      return snpOf(platform)
  }
}

function pcrsOf(
  pcrs: Extract<PlatformPolicy, { type: "tpm2" }>["pcrs"],
): Record<string, readonly string[]> {
  return Object.fromEntries(Object.entries(pcrs).map(([pcr, values]) => [`sha256:${pcr}`, values]))
}

function snpOf(
  platform: Omit<Extract<PlatformPolicy, { type: "sev-snp" }>, "maxAge">,
): Extract<Accepted, { type: "sev-snp" }> {
  return {
    type: platform.type,
    products: platform.products.map((product) => snpNames[product]),
    measurements: platform.measurement,
    minTcb: platform.minTcb,
    minGuestSvn: platform.minGuestSvn,
    maxVmpl: platform.maxVmpl,
    allowSmt: platform.allowSmt,
    allowMigrationAgent: platform.insecureMigration,
    insecureDebug: platform.insecureDebug,
    ...some("hostData", platform.hostData),
    ...some("idKeyDigests", platform.idKeyDigest),
    ...some("chipIds", platform.chipId),
  }
}

const snpNames = { milan: "Milan", genoa: "Genoa", turin: "Turin" } as const

type Intel = Extract<PlatformPolicy, { type: "tdx" | "sgx" }>

function intelOf(platform: Intel) {
  return {
    tcbStatuses: ["UpToDate" as const, ...platform.tolerate],
    minEvaluationNumber: platform.minTcbEvaluation,
    ...(platform.advisories === undefined ? {} : { advisories: platform.advisories }),
  }
}

function rtmrsOf(
  platform: Extract<PlatformPolicy, { type: "tdx" }>,
): Record<string, readonly string[]> {
  const lists: readonly (readonly [string, readonly string[]])[] = [
    ["0", platform.rtmr0],
    ["1", platform.rtmr1],
    ["2", platform.rtmr2],
  ]
  return Object.fromEntries(lists.filter(([, list]) => list.length > 0))
}
