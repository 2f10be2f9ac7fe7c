import { toHex } from "../bytes/index.ts"
import { parsePolicy } from "../policy/index.ts"
import type { SealedBinary } from "../seal/index.ts"
import type { RegionStore } from "./stores.ts"

/**
 * SHA-256 of "coffer: put your own access key here": a public key whose private half nobody has. So a skeleton that was
 * not edited can be read by the parser and changed by nobody.
 */
const nobody = "4afaa41a8803036b4b5172c932eb2983074c37f250d5fa691c79ace2ec40c405"

/** Where people may put their key. */
export interface SkeletonOptions {
  /** Ed25519 public key of who may read and update the policy: 64 hex digits. */
  readonly accessKey?: string
  /** The content of the image that is in stores, as `protectImage` reports it. */
  readonly regions?: readonly RegionStore[]
}

/** The secret that a skeleton names for the key of the image's encrypted content. */
export const imageKeySecret = "image-key"

/**
 * A first policy for a sealed binary: YAML with comments, in the language of `spec/policy.md`. It names the one measurement
 * and the volumes, it holds no secret, and the platform in it is `insecure-sim`, which proves nothing.
 */
export function policySkeleton(binary: SealedBinary, options: SkeletonOptions = {}): string {
  const { manifest, mrEnclave } = binary
  const volumes = volumesOf(binary)
  const regions = (options.regions ?? []).filter(({ region }) => isForPolicy(region))
  const text = [
    `# Who gets the keys of ${manifest.name}. Check: coffer policy check FILE. Use: coffer policy create FILE --key KEY.pem`,
    "version: 1",
    `name: ${yaml(manifest.name)}`,
    "services:",
    `  ${yaml(manifest.name)}:`,
    `    measurements: ["${toHex(mrEnclave)}"]  # coffer measure IMAGE`,
    ...signerLines(binary),
    "    platforms: [laptop]",
    ...(manifest.debug
      ? ["    # insecureDebug: true  # this is a debug enclave, and anybody on its host can attach"]
      : []),
    ...section(
      "    volumes:",
      volumes.map(({ name }) => `      ${yaml(name)}: write`),
    ),
    ...section(
      "    regions:  # content of the image that may be renewed with no other measurement",
      regions.map((store) => `      ${regionLine(store)}`),
    ),
    "platforms:",
    "  laptop: { type: insecure-sim }  # proves nothing: for development. Then: tdx, sev-snp or tpm2",
    ...section(
      "volumes:",
      volumes.map(({ name, protection }) => `  ${yaml(name)}: { protection: ${protection} }`),
    ),
    ...secretLines(regions, manifest.name),
    "access:",
    options.accessKey === undefined
      ? `  keys: { owner: "${nobody}" }  # nobody's key: put yours here, coffer keygen --access KEY.pem prints it`
      : `  keys: { owner: "${options.accessKey}" }`,
    "  update: { of: [owner] }",
    "",
  ].join("\n")
  parsePolicy(text, "policy skeleton")
  return text
}

interface VolumeEntry {
  readonly name: string
  readonly protection: "encrypted" | "authenticated"
}

function volumesOf({ manifest }: SealedBinary): VolumeEntry[] {
  const found = new Map<string, VolumeEntry>()
  for (const region of manifest.regions)
    if (region.kind === "volume")
      found.set(region.volume, { name: region.volume, protection: region.protection })
  return [...found.values()]
}

function isForPolicy({ protection, tag }: RegionStore["region"]): boolean {
  return protection === "encrypted" || tag === undefined
}

function regionLine({ region, tag }: RegionStore): string {
  const fields = [
    ...(region.tag === undefined ? [`tag: "${tag}"`] : []),
    ...(region.protection === "encrypted" ? [`key: ${imageKeySecret}`] : []),
  ]
  return `${JSON.stringify(region.path)}: { ${fields.join(", ")} }`
}

/** The key is the publisher's: one for the image, and everybody else imports it. */
function secretLines(regions: readonly RegionStore[], name: string): string[] {
  if (!regions.some(({ region }) => region.protection === "encrypted")) return []
  return [
    "secrets:",
    `  ${imageKeySecret}: { kind: given }  # its value: --secret ${imageKeySecret}=${name}.keys; export: [POLICY] lets another policy import it`,
    "  # whoever got this image from somebody else imports the key from that one's policy instead:",
    `  # ${imageKeySecret}: { kind: import, policy: PUBLISHER, secret: ${imageKeySecret} }`,
  ]
}

function signerLines({ signature }: SealedBinary): string[] {
  if (signature === undefined) return []
  const { mrSigner, isvProdId, isvSvn } = signature
  return [
    "    # or every version by its signer, from this SVN on:",
    `    # signer: { mrsigner: "${toHex(mrSigner)}", product: ${isvProdId}, minSvn: ${isvSvn} }`,
  ]
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [title, ...lines]
}

// A name may look like a number or a truth value.
function yaml(name: string): string {
  return /^[a-z][a-z._-]*$/.test(name) && !/^(true|false|null|yes|no|on|off|y|n)$/.test(name)
    ? name
    : JSON.stringify(name)
}
