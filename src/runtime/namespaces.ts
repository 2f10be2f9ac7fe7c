import type { EngineConfig, EngineNamespace } from "./engine-config.ts"
import { refuse } from "./refuse.ts"

export interface RuncNamespace {
  readonly type: string
  readonly path?: string
}

/** What becomes of each kind of namespace: `own` must be new (and all but `user` must be there), `shared` may be joined or the host's, and is reported. */
export const namespaceTreatments: Readonly<Record<string, "own" | "shared" | "refused">> = {
  pid: "own",
  mount: "own",
  cgroup: "own",
  network: "shared",
  ipc: "shared",
  uts: "shared",
  user: "own",
  time: "refused",
}

export interface NamespacePlan {
  readonly namespaces: readonly RuncNamespace[]
  /** What the container shares with others, for the log. */
  readonly reported: readonly string[]
}

export function planNamespaces(config: EngineConfig): NamespacePlan {
  const asked = new Map((config.linux.namespaces ?? []).map(checked))
  if (!asked.has("pid"))
    throw refuse("linux.namespaces: pid", "a new one", "the host's", "leave out --pid=host")
  if (!asked.has("mount")) throw refuse("linux.namespaces: mount", "a new one", "the host's")
  const reported: string[] = []
  const namespaces: RuncNamespace[] = [{ type: "pid" }, { type: "mount" }, { type: "cgroup" }]
  if (asked.has("user")) namespaces.push({ type: "user" })
  for (const type of ["network", "ipc", "uts"]) {
    const path = asked.get(type)
    if (!asked.has(type)) reported.push(`${type}: the host's`)
    else namespaces.push(path === undefined ? { type } : { type, path })
    if (path !== undefined) reported.push(`${type}: joined, ${path}`)
  }
  return { namespaces, reported }
}

/** Its type, and the path of one to join. */
function checked({ type, path }: EngineNamespace): readonly [string, string | undefined] {
  const treatment = namespaceTreatments[type]
  const field = `linux.namespaces: ${type}`
  const joined = path ? `one to join, ${path}` : undefined
  if (treatment === undefined || treatment === "refused")
    throw refuse(field, "none", joined ?? "a new one")
  if (treatment === "own" && joined !== undefined)
    throw refuse(field, "a new one", joined, "it would let others into the enclave")
  return [type, path ? path : undefined]
}

/** Those that are not made with the container, so that root of its user namespace has no power over them. */
export function borrowedNamespaces(namespaces: readonly RuncNamespace[]): string[] {
  return ["network", "ipc"].filter(
    (type) => !namespaces.some((own) => own.type === type && own.path === undefined),
  )
}
