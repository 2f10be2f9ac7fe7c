import { z } from "zod"
import { CofferError } from "../errors.ts"

// What we look at of an engine's config.json; `fields.ts` says what becomes of all the rest.

const texts = z.array(z.string())
const record = z.record(z.string(), z.unknown())

const capabilities = z.object({
  bounding: texts.nullish(),
  effective: texts.nullish(),
  permitted: texts.nullish(),
})

const mount = z.object({
  destination: z.string(),
  type: z.string().nullish(),
  source: z.string().nullish(),
  options: texts.nullish(),
})
export type EngineMount = Readonly<z.output<typeof mount>>

const namespace = z.object({ type: z.string(), path: z.string().nullish() })
export type EngineNamespace = Readonly<z.output<typeof namespace>>

const idMapping = z.object({ containerID: z.number(), hostID: z.number(), size: z.number() })
export type EngineIdMapping = Readonly<z.output<typeof idMapping>>

const rlimit = z.object({ type: z.string(), hard: z.number(), soft: z.number() })

const engineConfigSchema = z.looseObject({
  process: z.looseObject({
    terminal: z.boolean().nullish(),
    consoleSize: record.nullish(),
    args: texts.nullish(),
    env: texts.nullish(),
    capabilities: capabilities.nullish(),
    rlimits: z.array(rlimit).nullish(),
    noNewPrivileges: z.boolean().nullish(),
    apparmorProfile: z.string().nullish(),
    selinuxLabel: z.string().nullish(),
    oomScoreAdj: z.number().nullish(),
  }),
  root: z.looseObject({ path: z.string(), readonly: z.boolean().nullish() }),
  hostname: z.string().nullish(),
  domainname: z.string().nullish(),
  mounts: z.array(mount).nullish(),
  annotations: z.record(z.string(), z.string()).nullish(),
  linux: z
    .looseObject({
      uidMappings: z.array(idMapping).nullish(),
      gidMappings: z.array(idMapping).nullish(),
      sysctl: z.record(z.string(), z.string()).nullish(),
      resources: record.nullish(),
      cgroupsPath: z.string().nullish(),
      namespaces: z.array(namespace).nullish(),
      maskedPaths: texts.nullish(),
      readonlyPaths: texts.nullish(),
      seccomp: z.unknown().optional(),
    })
    .default({}),
})
export type EngineConfig = Readonly<z.output<typeof engineConfigSchema>>

/** The engine's config.json. It comes from the adversary: its shape is checked here, its wishes in `bundle.ts`. */
export function parseEngineConfig(text: string): EngineConfig {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new CofferError("config", "config.json: wanted JSON, found something else", { cause })
  }
  const parsed = engineConfigSchema.safeParse(value)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const field = issue?.path.map(String).join(".") ?? ""
  throw new CofferError("config", `config.json: ${field}: ${issue?.message ?? "not valid"}`, {
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
