import { CofferError } from "../../errors.ts"
import type { EvidenceClaims, PlatformClaims } from "../claims.ts"
import type { PlatformPolicy } from "../policy.ts"

/** A policy's no: names the field, what the policy wants and what the claims have. */
export function unacceptable(field: string, wanted: string, found: string): CofferError {
  return new CofferError("refused", `${field}: the policy wants ${wanted}, found ${found}`, {
    reason: `policy-${field.replaceAll(/[^a-zA-Z0-9]+/g, "-")}`,
    facts: { field, wanted, found },
  })
}

/** Acceptable? `policy` is one platform of the CAS's policy. Throws `refused` with `facts` field, wanted and found. */
export function validatePlatform(claims: PlatformClaims, policy: PlatformPolicy): void {
  if (claims.type !== policy.type) throw unacceptable("platform.type", policy.type, claims.type)
  if (policy.type === "insecure-sim" && claims.type === "insecure-sim") {
    if (policy.keys !== undefined && !policy.keys.includes(claims.key))
      throw unacceptable("platform.keys", policy.keys.join(" or "), claims.key)
    return
  }
  throw unacceptable("platform.type", "a type that is known", claims.type)
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
