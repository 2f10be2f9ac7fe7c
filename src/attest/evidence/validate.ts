import { CofferError } from "../../errors.ts"
import type {
  EvidenceClaims,
  PlatformClaims,
  SgxClaims,
  SnpClaims,
  TdxClaims,
  Tpm2Claims,
} from "../claims.ts"
import type {
  DcapPolicy,
  PlatformPolicy,
  SgxPolicy,
  SnpPolicy,
  TdxPolicy,
  Tpm2Policy,
} from "../policy.ts"

/** A policy's no: names the field, what the policy wants and what the claims have. */
export function unacceptable(field: string, wanted: string, found: string): CofferError {
  return new CofferError("refused", `${field}: the policy wants ${wanted}, found ${found}`, {
    reason: `policy-${field.replaceAll(/[^a-zA-Z0-9]+/g, "-")}`,
    facts: { field, wanted, found },
  })
}

/** Acceptable? `policy` is one platform of the CAS's policy. Throws `refused` with `facts` field, wanted and found. */
export function validatePlatform(claims: PlatformClaims, policy: PlatformPolicy): void {
  switch (policy.type) {
    case "insecure-sim":
      if (claims.type !== policy.type) break
      oneOf("platform.keys", policy.keys, claims.key)
      return
    case "tpm2":
      if (claims.type !== policy.type) break
      validateTpm(claims, policy)
      return
    case "tdx":
      if (claims.type !== policy.type) break
      validateTdx(claims, policy)
      return
    case "sgx":
      if (claims.type !== policy.type) break
      validateSgx(claims, policy)
      return
    case "sev-snp":
      if (claims.type !== policy.type) break
      validateSnp(claims, policy)
      return
    case "azure":
      if (claims.type !== policy.type) break
      validateHardware(claims.hardware, policy.hardware)
      validatePcrs(claims.tpm, policy.pcrs)
      return
  }
  throw unacceptable("platform.type", policy.type, claims.type)
}

/** Of a composite: its refusals name the field where it stands in the policy. */
function validateHardware(claims: SnpClaims | TdxClaims, policy: SnpPolicy | TdxPolicy): void {
  try {
    validatePlatform(claims, policy)
  } catch (error) {
    if (!(error instanceof CofferError) || error.code !== "refused") throw error
    const { field, wanted, found } = error.facts
    const inner = String(field).replace(/^platform\./, "platform.hardware.")
    throw unacceptable(inner, String(wanted), String(found))
  }
}

/** `list` undefined: not looked at. An empty list accepts nothing. */
function oneOf(field: string, list: readonly string[] | undefined, found: string): void {
  if (list !== undefined && !list.includes(found))
    throw unacceptable(field, list.join(" or ") || "nothing at all", found || "nothing")
}

function atLeast(field: string, least: number | undefined, found: number): void {
  if (least !== undefined && found < least)
    throw unacceptable(field, `at least ${least}`, String(found))
}

function must(holds: boolean, field: string, wanted: string, found: string): void {
  if (!holds) throw unacceptable(field, wanted, found)
}

function validateDcap(claims: SgxClaims | TdxClaims, policy: DcapPolicy): void {
  const { tcb } = claims
  if (tcb === undefined)
    throw unacceptable("platform.tcbStatuses", policy.tcbStatuses.join(" or "), "no TCB info")
  oneOf("platform.tcbStatuses", policy.tcbStatuses, tcb.status)
  for (const advisory of tcb.advisories) oneOf("platform.advisories", policy.advisories, advisory)
  atLeast("platform.minEvaluationNumber", policy.minEvaluationNumber, tcb.evaluationNumber)
  must(
    claims.revocationChecked || policy.requireRevocation === false,
    "platform.requireRevocation",
    "a chain that was checked against CRLs",
    "no CRL",
  )
}

function validateTdx(claims: TdxClaims, policy: TdxPolicy): void {
  must(
    !claims.debug || policy.insecureDebug === true,
    "platform.insecureDebug",
    "a guest that cannot be debugged",
    `attributes ${claims.attributes}`,
  )
  // Without SEPT_VE_DISABLE (bit 28) the host can make the guest see interrupts in the place of memory errors.
  must(
    ((Number.parseInt(claims.attributes.slice(6, 8), 16) >> 4) & 1) === 1 ||
      policy.insecureDebug === true,
    "platform.attributes",
    "SEPT_VE_DISABLE",
    `attributes ${claims.attributes}`,
  )
  oneOf("platform.mrTd", policy.mrTd, claims.mrTd)
  for (const [index, list] of Object.entries(policy.rtmrs ?? {}))
    oneOf(`platform.rtmrs.${index}`, list, claims.rtmrs[Number(index)] ?? "")
  oneOf("platform.mrSeam", policy.mrSeam, claims.mrSeam)
  oneOf("platform.mrConfigId", policy.mrConfigId, claims.mrConfigId)
  oneOf("platform.mrOwner", policy.mrOwner, claims.mrOwner)
  oneOf("platform.mrOwnerConfig", policy.mrOwnerConfig, claims.mrOwnerConfig)
  // Another TD that may migrate or change this one: nothing that we run has one.
  const none = claims.mrServiceTd === undefined || /^0*$/.test(claims.mrServiceTd)
  must(none, "platform.mrServiceTd", "no service TD", claims.mrServiceTd ?? "")
  validateDcap(claims, policy)
}

function validateSgx(claims: SgxClaims, policy: SgxPolicy): void {
  must(
    !claims.debug || policy.insecureDebug === true,
    "platform.insecureDebug",
    "an enclave that cannot be debugged",
    `attributes ${claims.attributes}`,
  )
  validateDcap(claims, policy)
}

function validateSnp(claims: SnpClaims, policy: SnpPolicy): void {
  const bits = claims.policy
  const allowed = (yes: boolean | undefined, set: boolean, field: string) =>
    must(!set || yes === true, field, "it off in the guest's policy", "it on")
  allowed(policy.insecureDebug, bits.debug, "platform.insecureDebug")
  allowed(policy.allowMigrationAgent, bits.migrationAgent, "platform.allowMigrationAgent")
  allowed(policy.allowSmt, bits.smt, "platform.allowSmt")
  oneOf("platform.products", policy.products, claims.product)
  oneOf("platform.measurements", policy.measurements, claims.measurement)
  oneOf("platform.hostData", policy.hostData, claims.hostData)
  oneOf("platform.idKeyDigests", policy.idKeyDigests, claims.idKeyDigest)
  oneOf("platform.authorKeyDigests", policy.authorKeyDigests, claims.authorKeyDigest)
  oneOf("platform.chipIds", policy.chipIds, claims.chipId)
  atLeast("platform.minGuestSvn", policy.minGuestSvn, claims.guestSvn)
  must(
    claims.vmpl <= (policy.maxVmpl ?? 0),
    "platform.maxVmpl",
    `at most ${policy.maxVmpl ?? 0}`,
    String(claims.vmpl),
  )
  const { minTcb = {} } = policy
  const { reportedTcb } = claims
  atLeast("platform.minTcb.bootloader", minTcb.bootloader, reportedTcb.bootloader)
  atLeast("platform.minTcb.tee", minTcb.tee, reportedTcb.tee)
  atLeast("platform.minTcb.snp", minTcb.snp, reportedTcb.snp)
  atLeast("platform.minTcb.microcode", minTcb.microcode, reportedTcb.microcode)
  atLeast("platform.minTcb.fmc", minTcb.fmc, reportedTcb.fmc ?? 0)
  must(
    claims.revocationChecked || policy.requireRevocation === false,
    "platform.requireRevocation",
    "a chain that was checked against a CRL",
    "no CRL",
  )
}

function validateTpm(claims: Tpm2Claims, policy: Tpm2Policy): void {
  // Anybody can quote any PCR value with a software TPM: only an enrolled key says which TPM spoke.
  must(
    claims.akRestricted && claims.akName !== "" && policy.aks.includes(claims.akName),
    "platform.aks",
    policy.aks.join(" or ") || "an enrolled key, and none is",
    claims.akName || "a key without its public area",
  )
  if (policy.minFirmware !== undefined)
    must(
      BigInt(`0x${claims.firmwareVersion}`) >= BigInt(`0x${policy.minFirmware}`),
      "platform.minFirmware",
      `at least ${policy.minFirmware}`,
      claims.firmwareVersion,
    )
  validatePcrs(claims, policy.pcrs)
}

function validatePcrs(claims: Tpm2Claims, pcrs: Readonly<Record<string, readonly string[]>>): void {
  must(Object.keys(pcrs).length > 0, "platform.pcrs", "a policy that names PCRs", "none")
  for (const [name, list] of Object.entries(pcrs)) {
    must(!name.startsWith("sha1:"), "platform.pcrs", "PCRs of SHA-256 or better", name)
    oneOf(`platform.pcrs.${name}`, list, claims.pcrs[name] ?? "")
  }
}

/** Accepts when one of `platforms` accepts; else throws the last refusal of the same type, or that the type is not named. */
export function validateEvidence(
  claims: EvidenceClaims,
  platforms: readonly PlatformPolicy[],
): void {
  const named = platforms.filter((policy) => policy.type === claims.platform.type)
  if (named.length === 0)
    throw unacceptable(
      "platforms",
      platforms.map((policy) => policy.type).join(" or ") || "no platform at all",
      claims.platform.type,
    )
  const refusals = named.flatMap((policy) => refusalOf(claims.platform, policy))
  const last = refusals.at(-1)
  if (refusals.length === named.length && last !== undefined) throw last
}

function refusalOf(claims: PlatformClaims, policy: PlatformPolicy): readonly CofferError[] {
  try {
    validatePlatform(claims, policy)
    return []
  } catch (error) {
    if (error instanceof CofferError && error.code === "refused") return [error]
    throw error
  }
}
