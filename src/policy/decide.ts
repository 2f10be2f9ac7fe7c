import type { PlatformPolicy } from "./platform.ts"
import type { Policy, Service, VolumeAccess } from "./schema.ts"

/** What the evidence says of the enclave, all of it verified before. Hex is lower case. */
export interface EnclaveClaims {
  readonly mrEnclave: string
  /** Undefined when the sealed binary carries no signature. */
  readonly mrSigner: string | undefined
  readonly product: number
  readonly svn: number
  readonly debug: boolean
  readonly runtimeVersion: string
}

export interface AccessRequest {
  readonly service: string
  readonly enclave: EnclaveClaims
  /** What the enclave asks for beyond its configuration; a name that the policy does not grant is refused. */
  readonly volumes: readonly {
    readonly name: string
    readonly access: VolumeAccess
    readonly instance: number
  }[]
}

/** What must be told of every no: which field of the policy, what it wants, what the evidence has. */
export interface Refusal {
  readonly field: string
  readonly wanted: string
  readonly found: string
}

export type Decision =
  | { readonly accepted: true; readonly platform: string }
  | { readonly accepted: false; readonly refusal: Refusal }

export interface DecisionContext {
  /** Whether the verified platform claims satisfy this platform of the policy: undefined when they do. */
  judgePlatform(name: string, platform: PlatformPolicy): Refusal | undefined
  /** The highest SVN that ever wrote a volume (0 when none). */
  highestSvn(volume: string, instance: number): number
}

/** May this enclave on this platform be this service and have these volumes? */
export function decide(policy: Policy, request: AccessRequest, context: DecisionContext): Decision {
  const service = Object.hasOwn(policy.services, request.service)
    ? policy.services[request.service]
    : undefined
  if (service === undefined)
    return no(
      "services",
      `one of ${Object.keys(policy.services).join(", ") || "none"}`,
      request.service,
    )
  const at = `services.${request.service}`
  const refusal =
    judgeEnclave(at, service, request.enclave) ??
    judgeVolumes(policy, at, service, request, context)
  if (refusal !== undefined) return { accepted: false, refusal }
  return judgePlatforms(policy, at, service, context)
}

function no(field: string, wanted: string, found: string): Decision {
  return { accepted: false, refusal: { field, wanted, found } }
}

function judgeEnclave(at: string, service: Service, enclave: EnclaveClaims): Refusal | undefined {
  // Debug first: a debug enclave can be read by its host, whatever its measurement is.
  if (enclave.debug && !service.insecureDebug)
    return {
      field: `${at}.insecureDebug`,
      wanted: "an enclave without debug",
      found: "a debug enclave",
    }
  if (service.measurements.length > 0 && !service.measurements.includes(enclave.mrEnclave))
    return {
      field: `${at}.measurements`,
      wanted: service.measurements.join(" or "),
      found: enclave.mrEnclave,
    }
  if (compareVersions(enclave.runtimeVersion, service.minRuntime) < 0)
    return {
      field: `${at}.minRuntime`,
      wanted: `${service.minRuntime} or newer`,
      found: enclave.runtimeVersion,
    }
  return judgeSigner(`${at}.signer`, service, enclave)
}

function judgeSigner(at: string, { signer }: Service, enclave: EnclaveClaims): Refusal | undefined {
  if (signer === undefined) return undefined
  if (enclave.mrSigner !== signer.mrsigner)
    return {
      field: `${at}.mrsigner`,
      wanted: signer.mrsigner,
      found: enclave.mrSigner ?? "no signature",
    }
  if (enclave.product !== signer.product)
    return {
      field: `${at}.product`,
      wanted: String(signer.product),
      found: String(enclave.product),
    }
  if (enclave.svn < signer.minSvn)
    return {
      field: `${at}.minSvn`,
      wanted: `${signer.minSvn} or higher`,
      found: String(enclave.svn),
    }
  return undefined
}

function judgeVolumes(
  policy: Policy,
  at: string,
  service: Service,
  request: AccessRequest,
  context: DecisionContext,
): Refusal | undefined {
  for (const { name, access, instance } of request.volumes) {
    const granted = Object.hasOwn(service.volumes, name) ? service.volumes[name] : undefined
    const volume = policy.volumes[name]
    if (granted === undefined || volume === undefined)
      return { field: `${at}.volumes`, wanted: names(service.volumes), found: name }
    if (access === "write" && granted !== "write")
      return { field: `${at}.volumes.${name}`, wanted: granted, found: access }
    if (!Number.isInteger(instance) || instance < 0 || instance >= volume.instances)
      return {
        field: `volumes.${name}.instances`,
        wanted: `an instance from 0 to ${volume.instances - 1}`,
        found: String(instance),
      }
    // An older, perhaps vulnerable version must not read what a newer one wrote.
    const highest = context.highestSvn(name, instance)
    if (request.enclave.svn < highest)
      return {
        field: `volumes.${name}`,
        wanted: `an SVN of ${highest} or higher: one of that SVN has written it`,
        found: String(request.enclave.svn),
      }
  }
  return undefined
}

function names(record: Readonly<Record<string, unknown>>): string {
  const keys = Object.keys(record)
  return keys.length === 0 ? "no volume" : `one of ${keys.join(", ")}`
}

function judgePlatforms(
  policy: Policy,
  at: string,
  service: Service,
  context: DecisionContext,
): Decision {
  const refusals: Refusal[] = []
  for (const name of service.platforms) {
    const platform = policy.platforms[name]
    if (platform === undefined) continue
    const refusal = context.judgePlatform(name, platform)
    if (refusal === undefined) return { accepted: true, platform: name }
    refusals.push(refusal)
  }
  // The refusal that came furthest: another type of platform says nothing but "another type".
  const best = refusals.find(({ field }) => !field.endsWith(".type")) ?? refusals[0]
  return {
    accepted: false,
    refusal: best ?? {
      field: `${at}.platforms`,
      wanted: service.platforms.join(" or "),
      found: "none",
    },
  }
}

/** Negative, zero or positive, by the numbers of `1.2.3`. A version that is none is older than all. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((text) =>
    /^\d+\.\d+\.\d+$/.test(text) ? text.split(".").map(Number) : [-1],
  )
  for (let i = 0; i < 3; i += 1) {
    const difference = (left?.[i] ?? 0) - (right?.[i] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

/** One line for people: `services.web.measurements: wanted …, found …`. */
export function refusalText({ field, wanted, found }: Refusal): string {
  return `${field}: wanted ${wanted}, found ${found}`
}
