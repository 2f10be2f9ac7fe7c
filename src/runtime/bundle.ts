import type { IdMaps } from "../fuse/index.ts"
import type { MeasuredManifest } from "../manifest/index.ts"
import type { EngineConfig, EngineIdMapping } from "./engine-config.ts"
import { sortFields } from "./fields.ts"
import type { Hooks } from "./hooks.ts"
import { planIds, requireService } from "./id-mappings.ts"
import { borrowedNamespaces, planNamespaces, type RuncNamespace } from "./namespaces.ts"
import { refuse } from "./refuse.ts"
import { type Seccomp, seccompProfile } from "./seccomp.ts"
import { type MountContext, type MountPlan, planMounts, type RuncMount } from "./service-mounts.ts"
import { type ServiceProcess, serviceProcess } from "./service-process.ts"

export interface RuncConfig {
  readonly ociVersion: string
  readonly process: ServiceProcess
  readonly root: { readonly path: string; readonly readonly: boolean }
  readonly hostname?: string
  readonly domainname?: string
  readonly mounts: readonly RuncMount[]
  readonly hooks?: Hooks
  readonly linux: {
    readonly resources: Readonly<Record<string, unknown>>
    readonly cgroupsPath?: string
    readonly sysctl?: Readonly<Record<string, string>>
    readonly namespaces: readonly RuncNamespace[]
    readonly uidMappings?: readonly EngineIdMapping[]
    readonly gidMappings?: readonly EngineIdMapping[]
    readonly seccomp: Seccomp
    readonly rootfsPropagation: "private"
    readonly maskedPaths: readonly string[]
    readonly readonlyPaths: readonly string[]
  }
}

export interface Bundle extends Omit<MountPlan, "mounts" | "dropped"> {
  readonly config: RuncConfig
  /** Writes to measured paths fail; there is no upper layer. */
  readonly readOnly: boolean
  /** Bytes, at most, that the upper layer may hold; undefined: half of the memory. */
  readonly upperSize: number | undefined
  /** How the container's users are called outside of its user namespace; undefined: it has none. */
  readonly ids: IdMaps | undefined
  /** What of the engine's config.json did not get in, for the log. */
  readonly dropped: readonly string[]
  /** What the container shares with others, for the log and the report. */
  readonly reported: readonly string[]
}

export interface BundleInput
  extends Omit<MountContext, "readOnly" | "scratchSize" | "ids" | "borrowed"> {
  readonly manifest: MeasuredManifest
  readonly config: EngineConfig
  /** Where the protected image has its sealed binary. */
  readonly sealedPath: string
  /** Who there is where we run ourselves, when that is a user namespace; each is called the same on both sides. */
  readonly ownIds: IdMaps | undefined
}

const maskedPaths = [
  "/proc/acpi",
  "/proc/asound",
  "/proc/interrupts",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/sys/dev/block",
  "/sys/devices/virtual/powercap",
  "/sys/firmware",
  "/sys/fs/selinux",
]
const readonlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]

/**
 * The container's bundle. It is built from the measured manifest: config.json comes from the adversary, so it is read for
 * the few things that an engine may choose, and what it must not choose is refused by name. Pure; docs/config-json.md.
 */
export function bundleFromManifest(input: BundleInput): Bundle {
  const { manifest, config, place } = input
  requireUnprivileged(config)
  const dropped = sortFields(config)
  const { namespaces, reported } = planNamespaces(config)
  const readOnly = manifest.readOnly || config.root.readonly === true
  const { resources, memoryLimit } = planResources(config)
  const upperSize = memoryLimit === undefined ? undefined : Math.floor(memoryLimit / 2)
  const mapped = planIds(config)
  if (mapped !== undefined && input.ownIds !== undefined)
    throw refuse(
      "linux.namespaces: user",
      "none within an ordinary user's, which the container has already",
      "a new one",
      "leave out --userns and --uidmap",
    )
  const ids = mapped ?? input.ownIds
  if (ids !== undefined) requireService(manifest, ids)
  const borrowed = ids === undefined ? [] : borrowedNamespaces(namespaces)
  const context = { ...input, readOnly, scratchSize: upperSize, ids, borrowed }
  const plan = planMounts(manifest, config, context)
  const chosen = serviceProcess(manifest, config, input.sealedPath)
  const { cgroupsPath } = config.linux
  const shared = input.ownIds === undefined ? [] : [ordinaryEngine]
  return {
    config: {
      ociVersion: "1.0.2",
      process: chosen.process,
      root: { path: `${place}/root`, readonly: readOnly },
      ...planNames(config, namespaces),
      mounts: plan.mounts,
      linux: {
        resources,
        ...(cgroupsPath ? { cgroupsPath } : {}),
        ...(config.linux.sysctl ? { sysctl: config.linux.sysctl } : {}),
        namespaces,
        ...(mapped === undefined ? {} : mappingsOf(config)),
        seccomp: seccompProfile(manifest.arch),
        rootfsPropagation: "private",
        maskedPaths,
        readonlyPaths,
      },
    },
    readOnly,
    upperSize,
    ids: mapped,
    typedFiles: plan.typedFiles,
    volumes: plan.volumes,
    regions: plan.regions,
    scratches: plan.scratches,
    measured: plan.measured,
    dropped: [...dropped, ...plan.dropped, ...chosen.dropped],
    reported: [...shared, ...reported],
  }
}

/** Whoever started it can read the memory of the shield: what a container shares with others begins with that. */
const ordinaryEngine = "engine: trusted, an ordinary user's: who owns the engine owns the shield"

// `--privileged` is no field of its own: it is these together. It opens the host to the service, and the service to the host.
function requireUnprivileged({ process, linux }: EngineConfig): void {
  const all = process.capabilities?.bounding?.includes("CAP_SYS_ADMIN") === true
  const open = (linux.maskedPaths ?? []).length === 0 && (linux.readonlyPaths ?? []).length === 0
  if (all && open)
    throw refuse(
      "privileged",
      "an ordinary container",
      "a privileged one",
      "leave out --privileged",
    )
}

function mappingsOf({ linux }: EngineConfig) {
  return { uidMappings: linux.uidMappings ?? [], gidMappings: linux.gidMappings ?? [] }
}

const limits = ["memory", "cpu", "pids", "blockIO", "hugepageLimits", "network", "rdma", "unified"]

function planResources({ linux }: EngineConfig) {
  const asked = linux.resources ?? {}
  const resources: Record<string, unknown> = {
    devices: [{ allow: false, access: "rwm" }],
  }
  for (const name of limits) if (asked[name]) resources[name] = asked[name]
  const memory = asked["memory"]
  const limit =
    typeof memory === "object" && memory !== null && "limit" in memory ? memory.limit : undefined
  const memoryLimit = typeof limit === "number" && limit > 0 ? limit : undefined
  return { resources, memoryLimit }
}

function planNames(config: EngineConfig, namespaces: readonly RuncNamespace[]) {
  const { hostname, domainname } = config
  const own = namespaces.some(({ type, path }) => type === "uts" && path === undefined)
  if (!own) return {}
  for (const [field, name] of Object.entries({ hostname, domainname }))
    if (name && !/^[A-Za-z0-9][A-Za-z0-9.-]{0,63}$/.test(name))
      throw refuse(field, "letters, digits, '.' and '-'", JSON.stringify(name.slice(0, 80)))
  return { ...(hostname ? { hostname } : {}), ...(domainname ? { domainname } : {}) }
}
