import { describe, type Finding } from "./explain.ts"
import { nearest } from "./nearest.ts"
import type { Policy, Quorum, Service } from "./schema.ts"
import { hasBrokenReference, secretParts, secretReferences } from "./substitute.ts"

/** The key pair of MRSIGNER 83d719e7… is printed in Intel's SDK: anybody can sign with it. */
const publishedSampleSigner = "83d719e77deaca1470f6baf62a4d774303c899db69020f9c70ee1dfc08c7ce9e"

type Path = readonly (string | number)[]

/** What the schema cannot see: names that must exist elsewhere in the document, and what contradicts itself. */
export function crossFindings(policy: Policy): Finding[] {
  return [
    ...Object.entries(policy.services).flatMap(([name, service]) =>
      serviceFindings(policy, ["services", name], service),
    ),
    ...secretFindings(policy),
    ...accessFindings(policy),
  ]
}

function unknownName(path: Path, name: string, kind: string, known: readonly string[]): Finding[] {
  if (known.includes(name)) return []
  const near = nearest(name, known)
  return [
    {
      path,
      atKey: false,
      wanted: `a ${kind} of this document${known.length === 0 ? " (it has none)" : `: ${known.join(", ")}`}`,
      found: describe(name),
      ...(near === undefined ? {} : { hint: `did you mean ${near}?` }),
    },
  ]
}

function serviceFindings(policy: Policy, at: Path, service: Service): Finding[] {
  const found: Finding[] = []
  if (service.measurements.length === 0 && service.signer === undefined)
    found.push({
      path: at,
      atKey: true,
      wanted: "measurements, or signer (mrsigner, product, minSvn), or both",
      found: "neither",
    })
  if (service.signer?.mrsigner === publishedSampleSigner)
    found.push({
      path: [...at, "signer", "mrsigner"],
      atKey: false,
      wanted: "a signer of your own",
      found: "the sample key that Intel published: anybody can sign with it",
    })
  for (const [i, name] of service.platforms.entries())
    found.push(
      ...unknownName([...at, "platforms", i], name, "platform", Object.keys(policy.platforms)),
    )
  for (const name of Object.keys(service.volumes))
    found.push(
      ...unknownName([...at, "volumes", name], name, "volume", Object.keys(policy.volumes)).map(
        (finding) => ({ ...finding, atKey: true }),
      ),
    )
  for (const [path, region] of Object.entries(service.regions)) {
    if (region.key === undefined && region.tag === undefined)
      found.push({
        path: [...at, "regions", path],
        atKey: true,
        wanted: "tag, or key, or both",
        found: "neither",
      })
    if (region.key !== undefined)
      found.push(
        ...unknownName(
          [...at, "regions", path, "key"],
          region.key,
          "secret",
          Object.keys(policy.secrets),
        ),
      )
  }
  for (const [path, text] of templates(at, service))
    found.push(...templateFindings(policy, path, text))
  return found
}

function templates(at: Path, service: Service): [Path, string][] {
  return [
    ...(service.argv ?? []).map((text, i): [Path, string] => [[...at, "argv", i], text]),
    ...Object.entries(service.env).map(([name, text]): [Path, string] => [
      [...at, "env", name],
      text,
    ]),
    ...Object.entries(service.files).map(([name, { content }]): [Path, string] => [
      [...at, "files", name, "content"],
      content,
    ]),
  ]
}

function templateFindings(policy: Policy, path: Path, text: string): Finding[] {
  if (hasBrokenReference(text))
    return [
      {
        path,
        atKey: false,
        wanted: "$$secret:NAME$$ or $$secret:NAME:PART$$",
        found: describe(text),
      },
    ]
  return secretReferences(text).flatMap(({ name, part, whole }) => {
    const unknown = unknownName(path, name, "secret", Object.keys(policy.secrets))
    if (unknown.length > 0) return unknown
    const kind = policy.secrets[name]?.kind
    const parts = kind === undefined ? [] : secretParts(kind)
    if (part === undefined || parts.includes(part)) return []
    return [
      {
        path,
        atKey: false,
        wanted: `${name}:${parts.join(` or ${name}:`)}`,
        found: describe(whole),
      },
    ]
  })
}

function secretFindings(policy: Policy): Finding[] {
  return Object.entries(policy.secrets).flatMap(([name, secret]) => {
    if (secret.kind === "x509") {
      const authorities = Object.entries(policy.secrets)
        .filter(([, { kind }]) => kind === "x509-ca")
        .map(([other]) => other)
      const path = ["secrets", name]
      const late: Finding = {
        path: [...path, "renewBefore"],
        atKey: false,
        wanted: `less than validFor (${secret.validFor} s)`,
        found: String(secret.renewBefore),
      }
      return [
        ...unknownName([...path, "ca"], secret.ca, "secret of kind x509-ca", authorities),
        ...(secret.renewBefore < secret.validFor ? [] : [late]),
      ]
    }
    if (secret.kind !== "import" || secret.policy !== policy.name) return []
    return [
      {
        path: ["secrets", name, "policy"],
        atKey: false,
        wanted: "another policy",
        found: "this one",
      },
    ]
  })
}

function accessFindings({ access }: Policy): Finding[] {
  const known = Object.keys(access.keys)
  const found: Finding[] = []
  const keysSeen = new Set<string>()
  for (const [name, key] of Object.entries(access.keys)) {
    if (keysSeen.has(key))
      found.push({
        path: ["access", "keys", name],
        atKey: false,
        wanted: "a key once: two names for one key would count as two people",
        found: "a key that another name has",
      })
    keysSeen.add(key)
  }
  for (const verb of ["read", "update", "restore"] as const) {
    const quorum = access[verb]
    if (quorum !== undefined) found.push(...quorumFindings(["access", verb], quorum, known))
  }
  return found
}

function quorumFindings(at: Path, quorum: Quorum, known: readonly string[]): Finding[] {
  const found = quorum.of.flatMap((name, i) => unknownName([...at, "of", i], name, "key", known))
  if (new Set(quorum.of).size !== quorum.of.length)
    found.push({ path: [...at, "of"], atKey: false, wanted: "each key once", found: "one twice" })
  if (quorum.need > quorum.of.length)
    found.push({
      path: [...at, "need"],
      atKey: false,
      wanted: `at most ${quorum.of.length}, the keys in "of"`,
      found: String(quorum.need),
    })
  return found
}

/** What is allowed and yet deserves a look. */
export function policyWarnings(policy: Policy): string[] {
  const warnings: string[] = []
  for (const [name, platform] of Object.entries(policy.platforms)) {
    if (platform.type === "insecure-sim")
      warnings.push(
        `platforms.${name}: insecure-sim proves nothing: a software key stands in for hardware`,
      )
    if ("insecureDebug" in platform && platform.insecureDebug)
      warnings.push(`platforms.${name}: insecureDebug lets the host read the guest's memory`)
    if (!Object.values(policy.services).some(({ platforms }) => platforms.includes(name)))
      warnings.push(`platforms.${name}: no service uses it`)
  }
  for (const [name, service] of Object.entries(policy.services))
    if (service.insecureDebug)
      warnings.push(`services.${name}: insecureDebug gives a debug enclave the secrets`)
  for (const [name, { freshness }] of Object.entries(policy.volumes))
    if (freshness !== "strict")
      warnings.push(
        `volumes.${name}: periodic freshness: an adversary could remove the last ${freshness.count} commits or ${freshness.age} seconds`,
      )
  return warnings
}
