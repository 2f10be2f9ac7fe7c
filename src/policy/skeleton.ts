/** What `coffer protect` and `coffer policy new` know of a service when its first policy is written. */
export interface SkeletonFacts {
  readonly name: string
  readonly service: string
  /** 64 hex digits. */
  readonly mrEnclave: string
  readonly signer?: { readonly mrsigner: string; readonly product: number; readonly svn: number }
  readonly volumes: readonly {
    readonly name: string
    readonly protection: "encrypted" | "authenticated"
  }[]
  /** Encrypted or authenticated image content; `key` names a secret of kind given. */
  readonly regions?: readonly {
    readonly path: string
    readonly tag: string
    readonly key?: string
  }[]
  /** Ed25519 public key, 64 hex digits; absent: a line to fill in. */
  readonly admin?: string
}

/** A policy to begin with, as YAML with comments: what is known is filled in, what is a choice says so. */
export function policySkeleton(facts: SkeletonFacts): string {
  const regions = facts.regions ?? []
  const keys = [...new Set(regions.flatMap(({ key }) => key ?? []))]
  return [
    "# Who may have which keys. docs/policies.md explains each line; check it with: coffer policy check FILE",
    "version: 1",
    `name: ${facts.name}`,
    "services:",
    `  ${facts.service}:`,
    `    measurements: ["${facts.mrEnclave}"]  # this build; add the next one for a rolling update`,
    ...signerLines(facts),
    "    platforms: [dev]",
    '    # env: { API_KEY: "$$secret:api-key$$" }',
    ...block("    volumes:", facts.volumes, ({ name }) => `      ${name}: write`),
    ...block(
      "    regions:",
      regions,
      ({ path, tag, key }) =>
        `      ${path}: { tag: "${tag}"${key === undefined ? "" : `, key: ${key}`} }`,
    ),
    "platforms:",
    "  dev: { type: insecure-sim }  # proves nothing: for development. tdx, sev-snp or tpm2 for everything else",
    ...block(
      "volumes:",
      facts.volumes,
      ({ name, protection }) => `  ${name}: { protection: ${protection}, freshness: strict }`,
    ),
    ...block(
      "secrets:",
      keys,
      (key) => `  ${key}: { kind: given }  # coffer policy create … --secret ${key}=FILE`,
    ),
    "# secrets:",
    "#   api-key: { kind: ascii, size: 40 }",
    "access:",
    `  keys: { admin: "${facts.admin ?? "PUT THE LINE OF coffer keygen --access HERE"}" }`,
    "  update: { of: [admin] }",
    "",
  ]
    .filter(
      (line) =>
        keys.length === 0 || (!line.startsWith("# secrets") && !line.startsWith("#   api-key")),
    )
    .join("\n")
}

function signerLines({ signer }: SkeletonFacts): string[] {
  if (signer === undefined) return []
  const { mrsigner, product, svn } = signer
  return [`    signer: { mrsigner: "${mrsigner}", product: ${product}, minSvn: ${svn} }`]
}

function block<T>(title: string, items: readonly T[], line: (item: T) => string): string[] {
  return items.length === 0 ? [] : [title, ...items.map(line)]
}
