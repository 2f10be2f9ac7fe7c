import { createHash } from "node:crypto"
import { readFileSync, realpathSync } from "node:fs"
import { fields, list, nullish, number, text, toHex, usually } from "../bytes/index.ts"
import type { EngineConfig } from "./engine-config.ts"

// runc runs hooks as root beside the enclave, and config.json comes from the adversary: only programs that the node's
// configuration lists by path and content, without an environment. Their arguments are the engine's; who lists one accepts that.

export interface ListedHook {
  readonly path: string
  readonly sha256: string
}

/** As runc takes them: `prestart`, `poststop` and so on. */
export type Hooks = Readonly<Record<string, readonly Hook[]>>

const words = nullish(list(text()))
const hookReader = fields("none", {
  path: text(),
  args: words,
  env: words,
  timeout: nullish(number((seconds) => Number.isSafeInteger(seconds) && seconds > 0)),
})

interface Hook {
  readonly path: string
  readonly args: readonly string[]
  readonly timeout?: number
}

// Hooks of the other kinds run in the container's own namespaces.
const kinds = ["prestart", "createRuntime", "poststart", "poststop"] as const
const hooksReader = fields(
  "none",
  Object.fromEntries(kinds.map((kind) => [kind, nullish(list(hookReader))])),
)

/** What config.json's hooks become, when each of them is listed; undefined when one is not, and the field is refused. */
export function listedHooks(
  config: EngineConfig,
  listed: readonly ListedHook[],
): Hooks | undefined {
  const asked = usually(hooksReader, config["hooks"])
  if (asked === undefined) return undefined
  const made: Record<string, readonly Hook[]> = {}
  for (const [kind, hooks] of Object.entries(asked)) {
    const ours = (hooks ?? []).map((hook) => hookOf(hook, listed))
    if (ours.includes(undefined)) return undefined
    if (ours.length > 0) made[kind] = ours.filter((hook) => hook !== undefined)
  }
  return made
}

function hookOf(
  { path, args, timeout }: ReturnType<typeof hookReader>,
  listed: readonly ListedHook[],
): Hook | undefined {
  // Docker names its own program by /proc/PID/exe.
  const real = resolved(path)
  const known = listed.find((one) => one.path === real)
  if (real === undefined || known === undefined || hashOf(real) !== known.sha256) return undefined
  return { path: real, args: args ?? [real], ...(timeout ? { timeout } : {}) }
}

function resolved(path: string): string | undefined {
  try {
    return path.startsWith("/") ? realpathSync(path) : undefined
  } catch {
    return undefined
  }
}

function hashOf(path: string): string | undefined {
  try {
    return toHex(createHash("sha256").update(readFileSync(path)).digest())
  } catch {
    return undefined
  }
}
