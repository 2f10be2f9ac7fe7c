import { createHash } from "node:crypto"
import { readFileSync, realpathSync } from "node:fs"
import { z } from "zod"
import { toHex } from "../bytes/index.ts"
import type { EngineConfig } from "./engine-config.ts"

// runc runs hooks as root beside the enclave, and config.json comes from the adversary: only programs that the node's
// configuration lists by path and content, without an environment. Their arguments are the engine's; who lists one accepts that.

export interface ListedHook {
  readonly path: string
  readonly sha256: string
}

/** As runc takes them: `prestart`, `poststop` and so on. */
export type Hooks = Readonly<Record<string, readonly Hook[]>>

const hookSchema = z.strictObject({
  path: z.string(),
  args: z.array(z.string()).nullish(),
  env: z.array(z.string()).nullish(),
  timeout: z.int().min(1).nullish(),
})

interface Hook {
  readonly path: string
  readonly args: readonly string[]
  readonly timeout?: number
}

// Hooks of the other kinds run in the container's own namespaces.
const kinds = ["prestart", "createRuntime", "poststart", "poststop"] as const
const hooksSchema = z.strictObject(
  Object.fromEntries(kinds.map((kind) => [kind, z.array(hookSchema).nullish()])),
)

/** What config.json's hooks become, when each of them is listed; undefined when one is not, and the field is refused. */
export function listedHooks(
  config: EngineConfig,
  listed: readonly ListedHook[],
): Hooks | undefined {
  const asked = config["hooks"]
  const parsed = asked === undefined ? undefined : hooksSchema.safeParse(asked)
  if (parsed?.success !== true) return undefined
  const made: Record<string, readonly Hook[]> = {}
  for (const [kind, hooks] of Object.entries(parsed.data)) {
    const ours = (hooks ?? []).map((hook) => hookOf(hook, listed))
    if (ours.includes(undefined)) return undefined
    if (ours.length > 0) made[kind] = ours.filter((hook) => hook !== undefined)
  }
  return made
}

function hookOf(
  { path, args, timeout }: z.output<typeof hookSchema>,
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
