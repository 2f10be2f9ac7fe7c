import { spawnSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { z } from "zod"
import { utf8 } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import { parseManifest } from "../manifest/index.ts"
import { type GlobalOptions, parseDelete, parseExec } from "./command-line.ts"
import { placeGone, placeOf, readState } from "./place.ts"
import { findRunc } from "./runc.ts"
import { requireExec, requireTerminal } from "./service-process.ts"

/** How a verb ends: with a status, or as runc itself. */
export type Outcome =
  | { readonly kind: "exit"; readonly status: number }
  | { readonly kind: "runc"; readonly argv: readonly string[] }

const shieldPatienceMs = 10_000

/** `delete`: runc's own, and then the shield's end, so that the engine can unmount the image. */
export async function deleteContainer(
  global: GlobalOptions,
  rest: readonly string[],
  base: string,
): Promise<Outcome> {
  const { id } = parseDelete(rest)
  const place = placeOf(base, global.root, id)
  const { status } = spawnSync(findRunc(), [...global.given, "delete", ...rest], {
    stdio: "inherit",
  })
  if (status === 0) await placeGone(place, shieldPatienceMs)
  return { kind: "exit", status: status ?? 1 }
}

const processSchema = z.looseObject({
  terminal: z.boolean().nullish(),
  consoleSize: z.record(z.string(), z.unknown()).nullish(),
  args: z.array(z.string()),
})

/** `exec`: a command that the manifest lists, with the service's own user, environment and rights, whatever the engine says. */
export function exec(global: GlobalOptions, rest: readonly string[], base: string): Outcome {
  const options = parseExec(rest)
  const place = placeOf(base, global.root, options.id)
  const state = readState(place)
  const runc = [findRunc(), ...global.given, "exec"]
  if (state === undefined)
    throw new CofferError(
      "refused",
      `exec: wanted an enclave, found none with the id ${options.id}`,
      {
        reason: "exec-not-enclave",
      },
    )
  const manifest = parseManifest(utf8(state.manifest))
  const asked = processSchema.parse(JSON.parse(readFileSync(options.process, "utf8")))
  requireExec(manifest, asked.args)
  const terminal = asked.terminal === true
  if (terminal) requireTerminal(manifest, "exec: process.terminal")
  const own = serviceOf(place)
  const file = join(place, `exec-${process.pid}.json`)
  const size = terminal && asked.consoleSize ? { consoleSize: asked.consoleSize } : {}
  writeFileSync(file, JSON.stringify({ ...own, terminal, ...size, args: asked.args }), {
    mode: 0o600,
  })
  const open = manifest.stdin === "inherit" || manifest.debug
  const { status } = spawnSync(
    runc[0] ?? "",
    [...runc.slice(1), "--process", file, ...options.passed, options.id],
    {
      stdio: [open ? "inherit" : "ignore", "inherit", "inherit"],
    },
  )
  return { kind: "exit", status: status ?? 1 }
}

/** The service's process in the bundle that we built. */
function serviceOf(place: string): object {
  const config = JSON.parse(readFileSync(join(place, "config.json"), "utf8")) as { process: object }
  const { consoleSize: _, ...own } = config.process as { consoleSize?: unknown }
  return own
}
