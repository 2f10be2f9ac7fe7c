import type { AnchorTarget, VolumeGrant } from "../cas/index.ts"
import { CofferError } from "../errors.ts"
import type { MeasuredManifest } from "../manifest/index.ts"
import { type Incident, ServedMount } from "../shield/index.ts"
import { workerUrl } from "../sys/index.ts"
import type { Configured } from "./configure.ts"
import type { Owner, PlannedVolume } from "./service-mounts.ts"

/** What the volume's thread gets. */
export interface CasVolumeRequest {
  readonly directory: string
  readonly target: AnchorTarget
  readonly policy: string
  readonly grant: VolumeGrant
  /** Of the root of a new volume: as the image has the directory. */
  readonly root: Owner
  /** What the first start copies in. */
  readonly seed: VolumeSeed | undefined
}

/** A directory of the binary filesystem in a sealed binary. */
export interface VolumeSeed {
  readonly path: string
  readonly manifest: MeasuredManifest
  readonly at: string
}

export interface VolumeHow extends Pick<CasVolumeRequest, "root" | "seed"> {
  readonly onIncident: (incident: Incident) => void
}

/** Opens one volume of a container, ready to be mounted. */
export function openCasVolume(
  { region, directory }: PlannedVolume,
  { answer, target, policy }: Configured,
  { root, seed, onIncident }: VolumeHow,
): Promise<ServedMount> {
  const grant = answer.volumes.find(({ name }) => name === region.volume)
  if (grant === undefined)
    throw new CofferError(
      "refused",
      `volume ${region.volume}: wanted it from the policy ${policy}, found that it grants none`,
      { reason: "volume-not-granted" },
    )
  // The manifest is measured, the policy is the stakeholder's: an encrypted region never gets a readable store.
  if (grant.protection !== region.protection)
    throw new CofferError(
      "refused",
      `volume ${region.volume}: wanted ${region.protection}, as measured, found ${grant.protection} in the policy`,
      { reason: "volume-protection" },
    )
  const request: CasVolumeRequest = { directory, target, policy, grant, root, seed }
  return ServedMount.open({ worker: workerUrl("cas-volume", import.meta.url), request, onIncident })
}
