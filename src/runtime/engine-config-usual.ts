import {
  anything,
  dictionary,
  fields,
  flag,
  list,
  nullish,
  number,
  text,
  usually,
} from "../bytes/index.ts"
import type { EngineConfig } from "./engine-config-schema.ts"

const word = text()
const words = nullish(list(word))
const texts = dictionary(word, word)
const anyObject = nullish(dictionary(word, anything))
const ids = nullish(
  list(fields("dropped", { containerID: number(), hostID: number(), size: number() })),
)

const linux = fields("kept", {
  uidMappings: ids,
  gidMappings: ids,
  sysctl: nullish(texts),
  resources: anyObject,
  cgroupsPath: nullish(word),
  namespaces: nullish(list(fields("dropped", { type: word, path: nullish(word) }))),
  maskedPaths: words,
  readonlyPaths: words,
  seccomp: anything,
})

const engineConfig = fields("kept", {
  process: fields("kept", {
    terminal: nullish(flag),
    consoleSize: anyObject,
    args: words,
    env: words,
    capabilities: nullish(
      fields("dropped", { bounding: words, effective: words, permitted: words }),
    ),
    rlimits: nullish(list(fields("dropped", { type: word, hard: number(), soft: number() }))),
    noNewPrivileges: nullish(flag),
    apparmorProfile: nullish(word),
    selinuxLabel: nullish(word),
    oomScoreAdj: nullish(number()),
  }),
  root: fields("kept", { path: word, readonly: nullish(flag) }),
  hostname: nullish(word),
  domainname: nullish(word),
  mounts: nullish(
    list(
      fields("dropped", {
        destination: word,
        type: nullish(word),
        source: nullish(word),
        options: words,
      }),
    ),
  ),
  annotations: nullish(texts),
  linux,
})

/** config.json as the schema would read it; undefined: ask the schema. */
export function usualEngineConfig(value: unknown): EngineConfig | undefined {
  return usually(engineConfig, value)
}
