import type { AnchorTarget, VolumeGrant } from "../cas/index.ts"
import { CofferError } from "../errors.ts"
import type { IdMaps } from "../fuse/index.ts"
import type { MeasuredManifest } from "../manifest/index.ts"
import { type Incident, ServedMount, startThread } from "../shield/index.ts"
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
  readonly ids: IdMaps | undefined
  readonly onIncident: (incident: Incident) => void
}

const casVolumeWorker = workerUrl("cas-volume", import.meta.url)

/** Starts the thread of the next volume before anybody knows what it is to serve. */
export function startVolumeThread(): void {
  startThread(casVolumeWorker)
}

/** Opens one volume of a container, ready to be mounted; its thread starts while the CAS is still asked. */
export async function openCasVolume(
  { region, directory }: PlannedVolume,
  asked: Promise<Configured | undefined>,
  { root, seed, ids, onIncident }: VolumeHow,
): Promise<ServedMount> {
  const request = asked.then((configured): CasVolumeRequest => {
    if (configured === undefined) throw new TypeError("volumes come from a CAS")
    const { target, policy } = configured
    return { directory, target, policy, grant: grantOf(region, configured), root, seed }
  })
  return await ServedMount.open({ worker: casVolumeWorker, request, ids, onIncident }).catch(
    async (error: unknown) => {
      if (!(error instanceof CofferError && error.reason === "emptied")) throw error
      const { policy, grant } = await request
      throw withRemedies(error, nameOf(policy, grant), directory)
    },
  )
}

function grantOf(region: PlannedVolume["region"], { answer, policy }: Configured): VolumeGrant {
  const grant = answer.volumes.find(({ name }) => name === region.volume)
  if (grant === undefined)
    throw new CofferError(
      "refused",
      `volume ${region.volume}: wanted it from the policy ${policy}, found that it grants none`,
      { reason: "volume-not-granted" },
    )
  // The manifest is measured, the policy is the stakeholder's: an encrypted region never gets a readable store.
  if (grant.protection === region.protection) return grant
  throw new CofferError(
    "refused",
    `volume ${region.volume}: wanted ${region.protection}, as measured, found ${grant.protection} in the policy`,
    { reason: "volume-protection" },
  )
}

function nameOf(policy: string, { name, instance }: VolumeGrant): string {
  return instance === 0 ? `${policy}/${name}` : `${policy}/${name}/${instance}`
}

/** A volume that the CAS knows, and a directory with nothing in it: whoever runs this chooses what is to be. */
function withRemedies(error: CofferError, volume: string, directory: string): CofferError {
  const { code, message, facts } = error
  return new CofferError(code, `volume ${volume}: ${message}`, {
    cause: error,
    facts,
    reason: "emptied",
    hint: [
      `one of three: (1) mount the directory that holds the volume, in place of ${directory}`,
      `(2) if it is lost, begin anew, by whoever may update the policy: coffer volume reset ${volume} --yes --key KEY.pem`,
      "(3) for another replica, give each a volume of its own: instances: N in the policy, and --instance I with coffer run (annotation io.coffer.instance with an engine)",
    ].join("; "),
  })
}
