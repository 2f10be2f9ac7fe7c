import { fromHex } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import type { IdMaps } from "../fuse/index.ts"
import type { MeasuredManifest } from "../manifest/index.ts"
import { type Incident, openShield, type ServedMount } from "../shield/index.ts"
import type { Configured } from "./configure.ts"
import type { MeasuredFile } from "./sealed-image.ts"
import type { ImageRegion } from "./service-mounts.ts"

/** Only a policy can say which content counts, or open it. */
export function needsPolicy({ protection, tag }: ImageRegion): boolean {
  return protection === "encrypted" || tag === undefined
}

export function imageRegions({ regions }: Pick<MeasuredManifest, "regions">): ImageRegion[] {
  return regions.filter((region) => region.kind === "image")
}

export interface RegionHow {
  readonly ids: IdMaps | undefined
  readonly onIncident: (incident: Incident) => void
}

/** Opens the store of one region at the tag that counts, ready to be mounted. */
export async function openRegion(
  region: ImageRegion,
  { stores }: MeasuredFile,
  configured: Configured | undefined,
  { ids, onIncident }: RegionHow,
): Promise<ServedMount> {
  const given = configured?.answer.regions.find(({ path }) => path === region.path)
  const tag = tagOf(region, given?.tag, configured?.policy)
  const key = region.protection === "encrypted" ? keyOf(region, given?.key, configured) : undefined
  const files = stores.of(region.store)
  if (files === undefined) throw noStore(region)
  try {
    const name = `region ${region.path}`
    return await openShield({ kind: "region", name, files, key, tag }, onIncident, ids)
  } catch (error) {
    throw error instanceof CofferError ? named(error, region, configured) : error
  }
}

export function noStore({ path, store }: Pick<ImageRegion, "path" | "store">): CofferError {
  return new CofferError(
    "integrity",
    `region ${path}: wanted its store ${store} in the image, found none`,
    {
      reason: "no-store",
      hint: "run the image that coffer protect has made, not its binary alone",
    },
  )
}

const renewHint =
  "an older content was put in its place; or, if you have renewed it: coffer run --accept --keys FILE IMAGE"

function named(
  error: CofferError,
  { path }: ImageRegion,
  configured: Configured | undefined,
): CofferError {
  const { code, message, reason, facts } = error
  const local = reason === "other-content" && configured?.target.type === "embedded"
  const hint = local ? renewHint : error.hint
  return new CofferError(code, `region ${path}: ${message}`, {
    cause: error,
    facts: { ...facts, region: path },
    ...(hint === undefined ? {} : { hint }),
    ...(reason === undefined ? {} : { reason }),
  })
}

/** The measured manifest's, or the policy's; when both have one it is the same. */
function tagOf(
  { path, tag: measured }: ImageRegion,
  given: string | undefined,
  policy = "none",
): Uint8Array {
  if (measured !== undefined && given !== undefined && given !== measured)
    throw new CofferError(
      "refused",
      `region ${path}: wanted tag ${measured}, as measured, found ${given} in policy ${policy}`,
      { reason: "region-tag" },
    )
  const tag = fromHex(measured ?? given ?? "")
  if (tag?.length === 32) return tag
  throw new CofferError(
    "refused",
    `region ${path}: wanted its tag from the policy ${policy}, found none`,
    {
      reason: "region-tag",
      hint: `coffer protect prints it; in the policy: regions: { ${path}: { tag: "…" } }`,
    },
  )
}

function keyOf(
  { path }: ImageRegion,
  given: string | undefined,
  configured: Configured | undefined,
): Uint8Array {
  const key = fromHex(given ?? "")
  if (key?.length === 32) return key
  throw new CofferError(
    "refused",
    `region ${path}: wanted its key from the policy ${configured?.policy ?? "none"}, found none`,
    {
      reason: "region-key",
      hint: `in the policy: regions: { ${path}: { key: SECRET } }, where SECRET is the image's key, given or imported`,
    },
  )
}
