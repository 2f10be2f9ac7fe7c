import { CofferError } from "../errors.ts"
import { type IdMaps, outsideId } from "../fuse/index.ts"
import type { MeasuredManifest, Region } from "../manifest/index.ts"
import { mountFlags } from "../sys/index.ts"
import type { EngineConfig, EngineMount } from "./engine-config.ts"
import { ownerOutside } from "./id-mappings.ts"
import { refuse } from "./refuse.ts"

export interface RuncMount {
  readonly destination: string
  readonly type: string
  readonly source: string
  readonly options: readonly string[]
}

type HostRegion = Extract<Region, { kind: "host" }>
type VolumeRegion = Extract<Region, { kind: "volume" }>
export type ImageRegion = Extract<Region, { kind: "image" }>

/** A host file that is read, parsed and written anew at `copy`, which the container gets. `source` undefined: the engine gave none. */
export interface TypedFile {
  readonly path: string
  readonly format: "resolv.conf" | "hosts" | "hostname"
  readonly source: string | undefined
  readonly copy: string
}

/** A volume that the shield serves at `target` before the container starts. */
export interface PlannedVolume {
  readonly region: VolumeRegion
  /** The directory of the store, as the engine mounts it. */
  readonly directory: string
  readonly target: string
}

/** A region with content of the image: the shield serves its store at `lower`. */
export interface PlannedRegion {
  readonly region: ImageRegion
  readonly lower: string
  /** The store with an ephemeral layer over it; undefined: changes are refused, and the container gets `lower`. */
  readonly merged: string | undefined
}

/** A region that is empty at start: a filesystem in memory, at `target` before the container starts. */
export interface PlannedScratch {
  readonly target: string
  /** `mountFlags`. */
  readonly flags: number
  /** The filesystem's own options. */
  readonly options: readonly string[]
}

export interface MountPlan {
  readonly mounts: readonly RuncMount[]
  readonly typedFiles: readonly TypedFile[]
  readonly volumes: readonly PlannedVolume[]
  readonly regions: readonly PlannedRegion[]
  readonly scratches: readonly PlannedScratch[]
  /** A second mount of the measured root is needed there, for what of it stands inside other regions. */
  readonly measured: string | undefined
  readonly dropped: readonly string[]
}

export interface Owner {
  readonly uid: number
  readonly gid: number
  readonly mode: number
}

export interface MountContext {
  /** Our folder of this container. */
  readonly place: string
  /** Owner and mode of a directory in the binary filesystem. */
  readonly ownerOf: (path: string) => Owner
  /** The kernel has tmpfs without swap. */
  readonly noswap: boolean
  readonly cgroup: boolean
  /** Changes of measured files and of regions of the image are refused. */
  readonly readOnly: boolean
  /** Who there is in the container; undefined: everybody. */
  readonly ids: IdMaps | undefined
  /** Namespaces over which root of the container's user namespace has no power. */
  readonly borrowed: readonly string[]
  /** Bytes, at most, of a region that is empty at start and names no size; undefined: half of the memory. */
  readonly scratchSize: number | undefined
}

const shmSize = 64 << 20

const ttyGroup = 5

/** /proc, /sys and /dev are ours in every container. */
function kernelMounts({ cgroup, ids, borrowed }: MountContext): RuncMount[] {
  const hasTty = ids === undefined || outsideId(ids.gids, ttyGroup) !== undefined
  const quiet = ["nosuid", "noexec", "nodev"]
  const mounts: RuncMount[] = [
    { destination: "/proc", type: "proc", source: "proc", options: quiet },
    {
      destination: "/dev",
      type: "tmpfs",
      source: "tmpfs",
      options: ["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"],
    },
    {
      destination: "/dev/pts",
      type: "devpts",
      source: "devpts",
      options: [
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
        ...(hasTty ? [`gid=${ttyGroup}`] : []),
      ],
    },
    {
      destination: "/dev/shm",
      type: "tmpfs",
      source: "shm",
      options: [...quiet, "mode=1777", `size=${shmSize}`],
    },
    // `rro`: what is mounted in it too. An ordinary user's service could end every FUSE mount of that user by a file there.
    borrowed.includes("network")
      ? {
          destination: "/sys",
          type: "bind",
          source: "/sys",
          options: ["rbind", ...quiet, "ro", "rro"],
        }
      : { destination: "/sys", type: "sysfs", source: "sysfs", options: [...quiet, "ro"] },
  ]
  // Queues need no mount to be used.
  if (!borrowed.includes("ipc"))
    mounts.push({ destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: quiet })
  if (cgroup)
    mounts.push({
      destination: "/sys/fs/cgroup",
      type: "cgroup",
      source: "cgroup",
      options: [...quiet, "relatime", "ro"],
    })
  return mounts
}

/** What engines mount in every container: not theirs to give, and not asked for by anybody. */
const engineMounts: ReadonlySet<string> = new Set([
  "/proc",
  "/dev",
  "/dev/pts",
  "/dev/shm",
  "/dev/mqueue",
  "/dev/termination-log",
  "/sys",
  "/sys/fs/cgroup",
  "/etc/hosts",
  "/etc/hostname",
  "/etc/resolv.conf",
  "/run/.containerenv",
  "/.dockerenv",
  "/run/secrets",
  "/var/run/secrets/kubernetes.io/serviceaccount",
  "/run/secrets/kubernetes.io/serviceaccount",
])

/** All mounts of the container, from the manifest's regions; of the engine's only those that back a region. */
export function planMounts(
  manifest: MeasuredManifest,
  config: EngineConfig,
  context: MountContext,
): MountPlan {
  const given = new Map<string, EngineMount>()
  const dropped: string[] = []
  for (const mount of config.mounts ?? []) {
    const region = manifest.regions.find(({ path }) => path === mount.destination)
    if (region?.kind === "host" || region?.kind === "volume") {
      if (given.has(mount.destination))
        throw refuse("mounts", "one mount for each path", `two for ${mount.destination}`)
      given.set(mount.destination, bound(mount))
    } else if (engineMounts.has(mount.destination) || region?.kind === "scratch")
      dropped.push(`mounts: ${mount.destination}`)
    else
      throw refuse(
        "mounts",
        "mounts of volumes and host files that the measured manifest declares",
        `${mount.destination} from ${mount.source ?? "nothing"}`,
        `declare a region for ${mount.destination} in coffer.yaml, and protect the image again`,
      )
  }
  const made = manifest.regions.map((region, i) => regionMount(region, i, given, context))
  return {
    mounts: [...kernelMounts(context), ...made.flatMap(({ mount }) => mount ?? [])],
    typedFiles: made.flatMap(({ typed }) => typed ?? []),
    volumes: made.flatMap(({ volume }) => volume ?? []),
    regions: made.flatMap(({ image }) => image ?? []),
    scratches: made.flatMap(({ scratch }) => scratch ?? []),
    measured: manifest.regions.some(({ kind }) => kind === "measured")
      ? measuredPlace(context)
      : undefined,
    dropped,
  }
}

function bound(mount: EngineMount): EngineMount {
  const options = mount.options ?? []
  const isBind = mount.type === "bind" || options.includes("bind") || options.includes("rbind")
  if (isBind && mount.source?.startsWith("/") === true) return mount
  throw refuse(
    `mounts: ${mount.destination}`,
    "a file or directory of the host",
    `type ${mount.type ?? "none"}`,
  )
}

interface Made {
  readonly mount?: RuncMount
  readonly typed?: TypedFile
  readonly volume?: PlannedVolume
  readonly image?: PlannedRegion
  readonly scratch?: PlannedScratch
}

function regionMount(
  region: Region,
  i: number,
  given: ReadonlyMap<string, EngineMount>,
  context: MountContext,
): Made {
  switch (region.kind) {
    case "measured":
      return { mount: measuredMount(region.path, context) }
    case "image":
      return imageMount(region, i, context)
    case "scratch":
      return scratchMount(region, i, context)
    case "host":
      return hostMount(region, given.get(region.path), `${context.place}/host/${i}`)
    case "volume":
      return volumeMount(region, given.get(region.path), `${context.place}/volume/${i}`)
  }
}

function measuredPlace({ place }: Pick<MountContext, "place">): string {
  return `${place}/measured`
}

// The root itself will not do as the source: by then the region around it is mounted over the place.
function measuredMount(path: string, context: MountContext): RuncMount {
  const options = ["bind", "rprivate", ...(context.readOnly ? ["ro"] : [])]
  return { destination: path, type: "bind", source: `${measuredPlace(context)}${path}`, options }
}

function imageMount(region: ImageRegion, i: number, { place, readOnly }: MountContext): Made {
  const lower = `${place}/volume/${i}`
  const merged = readOnly ? undefined : `${place}/region/${i}`
  const options = ["bind", "rprivate", ...flags(region.exec), ...(readOnly ? ["ro"] : [])]
  return {
    mount: { destination: region.path, type: "bind", source: merged ?? lower, options },
    image: { region, lower, merged },
  }
}

function flags(exec: boolean): string[] {
  return exec ? ["nosuid", "nodev"] : ["nosuid", "nodev", "noexec"]
}

// Mounted before the container is there: tmpfs without swap is for root of the first user namespace only.
function scratchMount(
  region: Extract<Region, { kind: "scratch" }>,
  i: number,
  { place, ownerOf, ids, noswap, scratchSize }: MountContext,
): Made {
  const { path, exec, size = scratchSize } = region
  const { uid, gid, mode } = ownerOutside(ownerOf(path), ids, path)
  const target = `${place}/region/${i}`
  const owner = [`uid=${uid}`, `gid=${gid}`, `mode=${mode.toString(8)}`]
  const most = size === undefined ? [] : [`size=${size}`]
  return {
    mount: {
      destination: path,
      type: "bind",
      source: target,
      options: ["bind", "rprivate", ...flags(exec)],
    },
    scratch: {
      target,
      flags: mountFlags.noSuid | mountFlags.noDev | (exec ? 0 : mountFlags.noExec),
      options: [...owner, ...most, ...(noswap ? ["noswap"] : [])],
    },
  }
}

function hostMount(region: HostRegion, mount: EngineMount | undefined, copy: string): Made {
  const destination = region.path
  if (region.format === "file" || region.format === "directory") {
    if (mount === undefined) return {}
    const readOnly = (mount.options ?? []).includes("ro") ? ["ro"] : []
    const options = ["bind", "rprivate", ...flags(false), ...readOnly]
    return { mount: { destination, type: "bind", source: mount.source ?? "", options } }
  }
  const options = ["bind", "rprivate", ...flags(false), "ro"]
  return {
    mount: { destination, type: "bind", source: copy, options },
    typed: { path: destination, format: region.format, source: mount?.source ?? undefined, copy },
  }
}

function volumeMount(region: VolumeRegion, mount: EngineMount | undefined, target: string): Made {
  const { path: destination, volume } = region
  if (mount?.source === undefined || mount.source === null)
    throw new CofferError(
      "config",
      `volume ${volume}: wanted a directory for it at ${destination}, found no mount there`,
      { hint: `add -v DIRECTORY:${destination}, or --volume ${volume}=DIRECTORY with coffer run` },
    )
  const options = ["bind", "rprivate", ...flags(region.exec)]
  return {
    mount: { destination, type: "bind", source: target, options },
    volume: { region, directory: mount.source, target },
  }
}
