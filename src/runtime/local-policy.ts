import type { KeyObject } from "node:crypto"
import { join } from "node:path"
import { rawPublicKey } from "../attest/index.ts"
import { toHex } from "../bytes/index.ts"
import { type ActBody, type ActResult, type Cas, signAct } from "../cas/index.ts"
import { CofferError } from "../errors.ts"
import { ed25519File } from "../node/index.ts"
import { type Policy, policyFromValue } from "../policy/index.ts"
import { imageKeySecret } from "../protect/index.ts"
import { ExtentDisk, tagOnce } from "../volume/index.ts"
import { imageRegions, needsPolicy, noStore } from "./regions.ts"
import type { MeasuredFile } from "./sealed-image.ts"
import type { ImageRegion } from "./service-mounts.ts"

// Alone on a machine, nobody has written a policy. The first start of a service writes one, which trusts that image and
// no other: trust at first use. A later image is accepted by a person, never by itself.

const platform = "here"

/** What a person says at a start: let this image have what the one before it had; its key. */
export interface LocalChoice {
  readonly accept: boolean
  /** Of the image's encrypted content, 32 bytes. */
  readonly imageKey?: Uint8Array | undefined
}

/** The policy of a service that runs with the embedded CAS: made when absent, changed when a person accepts another image. */
export async function ensureLocalPolicy(
  cas: Cas,
  directory: string,
  file: MeasuredFile,
  { accept, imageKey }: LocalChoice,
): Promise<void> {
  const { manifest } = file.sealed
  const isThere = await hasPolicy(cas, manifest.name)
  if (isThere && !accept) return
  const key = ed25519File(join(directory, "operator.key"))
  const before = isThere ? await readPolicy(cas, key, manifest.name) : undefined
  if (before === "foreign") return
  const regions = localRegions(file, imageKey)
  const document = localPolicy(file, regions, toHex(rawPublicKey(key)), before?.hash)
  if (before !== undefined && trusts(before.document, document, manifest.name)) return
  const text = imageKey === undefined ? "" : Buffer.from(`${toHex(imageKey)}\n`).toString("base64")
  const given = Object.keys(document.secrets).length === 0 ? {} : { [imageKeySecret]: text }
  await perform(cas, key, manifest.name, { verb: "put-policy", document, given })
}

function trusts(before: Policy, now: Policy, name: string): boolean {
  const [old, wanted] = [before.services[name], now.services[name]]
  const known = old?.measurements.includes(wanted?.measurements[0] ?? "") === true
  return known && JSON.stringify(old.regions) === JSON.stringify(wanted?.regions)
}

type LocalRegions = Policy["services"][string]["regions"]

/** The image is trusted now, so the tags are those of the stores that it has. */
function localRegions({ sealed, stores }: MeasuredFile, key: Uint8Array | undefined): LocalRegions {
  const regions = imageRegions(sealed.manifest).filter(needsPolicy)
  return Object.fromEntries(
    regions.map((region) => {
      const encrypted = region.protection === "encrypted"
      if (encrypted && key === undefined) throw noKey(region.path)
      const tag =
        region.tag === undefined ? { tag: tagIn(region, stores, encrypted ? key : undefined) } : {}
      return [region.path, encrypted ? { ...tag, key: imageKeySecret } : tag]
    }),
  )
}

function tagIn(
  { path, store }: ImageRegion,
  stores: MeasuredFile["stores"],
  key: Uint8Array | undefined,
): string {
  const files = stores.of(store)
  if (files === undefined) throw noStore({ path, store })
  const disk = new ExtentDisk(`region ${path}`, files)
  try {
    return toHex(tagOnce({ disk, key }))
  } finally {
    disk.closeAll()
  }
}

function noKey(path: string): CofferError {
  return new CofferError("config", `region ${path}: wanted the key of the image, found none`, {
    reason: "region-key",
    hint: "give the file that coffer protect has made, once: coffer run --keys NAME.keys IMAGE",
  })
}

function localPolicy(
  { sealed }: MeasuredFile,
  stored: LocalRegions,
  operator: string,
  predecessor: string | undefined,
): Policy {
  const { name, regions, debug } = sealed.manifest
  const volumes = regions.filter((region) => region.kind === "volume")
  const hasKey = Object.values(stored).some(({ key }) => key !== undefined)
  return policyFromValue(
    {
      version: 1,
      name,
      ...(predecessor === undefined ? {} : { predecessor }),
      services: {
        [name]: {
          measurements: [toHex(sealed.mrEnclave)],
          platforms: [platform],
          insecureDebug: debug,
          volumes: Object.fromEntries(volumes.map(({ volume }) => [volume, "write"])),
          regions: stored,
        },
      },
      platforms: { [platform]: { type: "insecure-sim" } },
      volumes: Object.fromEntries(
        volumes.map(({ volume, protection }) => [volume, { protection }]),
      ),
      secrets: hasKey ? { [imageKeySecret]: { kind: "given", maxSize: 65 } } : {},
      access: { keys: { operator }, update: { of: ["operator"] } },
    },
    "local policy",
  )
}

/** Asked at every start: so it is no act, which would be signed, logged and waited for. */
async function hasPolicy(cas: Cas, name: string): Promise<boolean> {
  const [first] = await cas.policies("", 1, name)
  return first?.name === name
}

async function readPolicy(cas: Cas, key: KeyObject, name: string) {
  try {
    const result = await perform(cas, key, name, { verb: "read-policy" })
    return result.verb === "read-policy" ? result : undefined
  } catch (error) {
    // A person has made it: then it counts as it is.
    if (error instanceof CofferError && error.reason === "act-read") return "foreign"
    throw error
  }
}

async function perform(
  cas: Cas,
  key: KeyObject,
  policy: string,
  body: ActBody,
): Promise<ActResult> {
  const expires = Math.floor(Date.now() / 1000) + 60
  const act = { version: 1, cas: cas.identity.name, policy, expires, body } as const
  const reply = await cas.act(signAct(act, [key]))
  return reply.result
}
