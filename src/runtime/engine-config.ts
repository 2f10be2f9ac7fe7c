import { CofferError } from "../errors.ts"
import {
  type EngineConfig,
  type EngineIdMapping,
  type EngineMount,
  type EngineNamespace,
  readEngineConfig,
} from "./engine-config-schema.ts"
import { usualEngineConfig } from "./engine-config-usual.ts"

export type { EngineConfig, EngineIdMapping, EngineMount, EngineNamespace }

/** The engine's config.json. It comes from the adversary: its shape is checked here, its wishes in `bundle.ts`. */
export function parseEngineConfig(text: string): EngineConfig {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new CofferError("config", "config.json: wanted JSON, found something else", { cause })
  }
  return usualEngineConfig(value) ?? bySchema(value)
}

function bySchema(value: unknown): EngineConfig {
  const read = readEngineConfig(value)
  if ("config" in read) return read.config
  const { field, fault } = read
  throw new CofferError("config", `config.json: ${field}: ${fault}`, {
    reason: "config-json",
    facts: { field },
  })
}

/** The container that Kubernetes keeps a pod's namespaces in: no service of anybody's. */
export function isSandbox(config: EngineConfig): boolean {
  const annotations = config.annotations ?? {}
  return (
    annotations["io.kubernetes.cri.container-type"] === "sandbox" ||
    annotations["io.kubernetes.cri-o.ContainerType"] === "sandbox"
  )
}
