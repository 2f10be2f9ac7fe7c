import { CofferError } from "../errors.ts"
import {
  type AccessRequest,
  decide,
  type Policy,
  refusalText,
  type Service,
} from "../policy/index.ts"

export interface Simulation {
  readonly accepted: boolean
  readonly sentence: string
}

const keys = [
  "service",
  "mrenclave",
  "mrsigner",
  "product",
  "svn",
  "debug",
  "runtime",
  "platform",
  "volume",
]

/** `may service S at MrEnclave M on platform P have volume V?`, by the same decision as the CAS's. */
export function simulate(policy: Policy, question: string): Simulation {
  const given = parse(question)
  const one = (key: string): string | undefined => given.find(([name]) => name === key)?.[1]
  const service = one("service")
  if (service === undefined)
    throw new CofferError("usage", "--simulate: wanted service=NAME, found none")
  const described = Object.hasOwn(policy.services, service) ? policy.services[service] : undefined
  const platform = one("platform")
  const request = {
    service,
    enclave: enclaveOf(one, described),
    volumes: volumesOf(given, described),
  }
  const decision = decide(policy, request, {
    judgePlatform: (name) => {
      if (platform === undefined || platform === name) return undefined
      const wanted = described?.platforms.join(" or ") ?? ""
      return { field: `services.${service}.platforms`, wanted, found: platform }
    },
    highestSvn: () => 0,
  })
  if (!decision.accepted)
    return { accepted: false, sentence: `no: ${refusalText(decision.refusal)}` }
  const type = policy.platforms[decision.platform]?.type
  const note = type === "insecure-sim" ? ", which is insecure-sim and proves nothing" : ""
  return {
    accepted: true,
    sentence: `yes: ${service} of ${policy.name}, on platform ${decision.platform}${note}`,
  }
}

/** What is not asked about is taken as the policy wants it. */
function enclaveOf(
  one: (key: string) => string | undefined,
  service: Service | undefined,
): AccessRequest["enclave"] {
  const wanted = { mrsigner: undefined, product: 0, minSvn: 0, ...service?.signer }
  return {
    mrEnclave: one("mrenclave") ?? service?.measurements[0] ?? "",
    mrSigner: one("mrsigner") ?? wanted.mrsigner,
    product: Number(one("product") ?? wanted.product),
    svn: Number(one("svn") ?? wanted.minSvn),
    debug: one("debug") === "true",
    runtimeVersion: one("runtime") ?? service?.minRuntime ?? "0.0.0",
  }
}

function volumesOf(
  given: readonly (readonly [string, string])[],
  service: Service | undefined,
): AccessRequest["volumes"] {
  return given
    .filter(([name]) => name === "volume")
    .map(([, value]) => volumeOf(value, service?.volumes ?? {}))
}

function parse(question: string): [string, string][] {
  return question.split(",").map((part) => {
    const [, key = "", value = ""] = /^([a-z]+)=(.*)$/.exec(part.trim()) ?? []
    if (!keys.includes(key))
      throw new CofferError(
        "usage",
        `--simulate: wanted ${keys.join("=, ")}=, found ${JSON.stringify(part)}`,
      )
    return [key, value]
  })
}

function volumeOf(
  text: string,
  granted: Readonly<Record<string, "read" | "write">>,
): AccessRequest["volumes"][number] {
  const [name = "", access = granted[name] ?? "read", instance = "0"] = text.split(":")
  if (access !== "read" && access !== "write")
    throw new CofferError("usage", `--simulate: volume: wanted read or write, found ${access}`)
  return { name, access, instance: Number(instance) }
}
