import type { EngineConfig } from "./engine-config.ts"
import { refuse } from "./refuse.ts"

/** What becomes of a field of config.json. docs/config-json.md is this table with the reasons, and a test compares them. */
export type Treatment = "used" | "replaced" | "dropped" | "refused"

export const fieldTreatments: Readonly<Record<string, Treatment>> = {
  ociVersion: "replaced",
  "process.terminal": "used",
  "process.consoleSize": "used",
  "process.user": "replaced",
  "process.args": "replaced",
  "process.commandLine": "refused",
  "process.env": "replaced",
  "process.cwd": "replaced",
  "process.capabilities": "replaced",
  "process.rlimits": "used",
  "process.noNewPrivileges": "used",
  "process.apparmorProfile": "used",
  "process.selinuxLabel": "used",
  "process.oomScoreAdj": "used",
  "process.scheduler": "dropped",
  "process.ioPriority": "dropped",
  "process.execCPUAffinity": "dropped",
  "root.path": "used",
  "root.readonly": "used",
  hostname: "used",
  domainname: "used",
  mounts: "replaced",
  hooks: "refused",
  annotations: "dropped",
  "linux.uidMappings": "used",
  "linux.gidMappings": "used",
  "linux.sysctl": "refused",
  "linux.resources.memory": "used",
  "linux.resources.cpu": "used",
  "linux.resources.pids": "used",
  "linux.resources.blockIO": "used",
  "linux.resources.hugepageLimits": "used",
  "linux.resources.network": "used",
  "linux.resources.rdma": "used",
  "linux.resources.unified": "used",
  "linux.resources.devices": "replaced",
  "linux.cgroupsPath": "used",
  "linux.namespaces": "replaced",
  "linux.devices": "dropped",
  "linux.netDevices": "refused",
  "linux.seccomp": "replaced",
  "linux.rootfsPropagation": "replaced",
  "linux.maskedPaths": "replaced",
  "linux.readonlyPaths": "replaced",
  "linux.mountLabel": "dropped",
  "linux.intelRdt": "refused",
  "linux.memoryPolicy": "refused",
  "linux.personality": "refused",
  "linux.timeOffsets": "refused",
  solaris: "refused",
  windows: "refused",
  vm: "refused",
  zos: "refused",
  freebsd: "refused",
}

const inner = new Set(["process", "root", "linux", "linux.resources"])

// Engines set these in every container with a network of its own; they are the network's, and give no right beyond it.
const engineSysctl: Readonly<Record<string, RegExp>> = {
  "net.ipv4.ping_group_range": /^\d+ \d+$/,
  "net.ipv4.ip_unprivileged_port_start": /^\d+$/,
}

/** Refuses what must not be there, and what nobody here knows; returns the fields that are dropped. */
export function sortFields(config: EngineConfig): string[] {
  const dropped: string[] = []
  for (const [field, value] of presentFields(config, "")) {
    const treatment = fieldTreatments[field]
    if (field === "linux.sysctl" && isOfEngines(config)) continue
    if (treatment === undefined)
      throw refuse(field, "a field that docs/config-json.md lists", "an unknown one")
    else if (treatment === "refused") throw refuse(field, "nothing", describe(value))
    else if (treatment === "dropped") dropped.push(field)
  }
  return dropped
}

function* presentFields(value: object, prefix: string): Generator<[string, unknown]> {
  for (const [name, inside] of Object.entries(value) as [string, unknown][]) {
    const field = prefix === "" ? name : `${prefix}.${name}`
    if (isEmpty(inside)) continue
    if (inner.has(field) && typeof inside === "object" && inside !== null)
      yield* presentFields(inside, field)
    else yield [field, inside]
  }
}

function isEmpty(value: unknown): boolean {
  if (isNothing(value) || value === "" || value === false) return true
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false
  // `hooks: { prestart: [] }` asks for nothing.
  return Object.values(value).every(isNothing)
}

function isNothing(value: unknown): boolean {
  return value === undefined || value === null || (Array.isArray(value) && value.length === 0)
}

function isOfEngines(config: EngineConfig): boolean {
  return Object.entries(config.linux.sysctl ?? {}).every(
    ([name, value]) => engineSysctl[name]?.test(value) === true,
  )
}

function describe(value: unknown): string {
  return JSON.stringify(value).slice(0, 120)
}
