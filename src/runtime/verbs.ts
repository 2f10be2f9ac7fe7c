import { spawn, spawnSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Readable } from "node:stream"
import { text } from "node:stream/consumers"
import { z } from "zod"
import { utf8 } from "../bytes/index.ts"
import { CofferError, type ErrorCode, fromSystem } from "../errors.ts"
import { parseManifest } from "../manifest/index.ts"
import { type GlobalOptions, parseCreate, parseDelete, parseExec } from "./command-line.ts"
import { isSandbox, parseEngineConfig } from "./engine-config.ts"
import {
  collectStale,
  defaultBase,
  makePlace,
  markOf,
  placeGone,
  placeOf,
  readState,
  removePlace,
} from "./place.ts"
import { findRunc } from "./runc.ts"
import { requireExec, requireTerminal } from "./service-process.ts"
import type { ShieldOrder } from "./shield-process.ts"

/** How a verb ends: with a status, or as runc itself. */
export type Outcome =
  | { readonly kind: "exit"; readonly status: number }
  | { readonly kind: "runc"; readonly argv: readonly string[] }

const openReply = z.strictObject({
  error: z
    .strictObject({
      code: z.string(),
      message: z.string(),
      hint: z.string().optional(),
      reason: z.string().optional(),
    })
    .optional(),
  runcStatus: z.int().optional(),
})
export type ShieldReply = z.output<typeof openReply>

/** `create`: measures, builds the bundle and starts the shield, which outlives us. `self`: how to start this program. */
export async function create(
  global: GlobalOptions,
  rest: readonly string[],
  self: readonly string[],
): Promise<Outcome> {
  const { id, bundle, passed } = parseCreate(rest)
  const runc = findRunc()
  const config = parseEngineConfig(readConfig(bundle))
  if (isSandbox(config)) return { kind: "runc", argv: [runc, ...global.given, "create", ...rest] }
  const place = placeOf(defaultBase, global.root, id)
  collectStale(defaultBase)
  makePlace(place)
  const order: ShieldOrder = {
    place,
    id,
    bundle,
    runc: [runc, ...global.given],
    passed,
    stdio: [3, 4, 5],
    engine: markOf(process.ppid),
  }
  const reply = await startShield(order, [...self, ...global.given, "shield"])
  if (reply.error !== undefined) throw revived(reply.error)
  return { kind: "exit", status: reply.runcStatus ?? 0 }
}

function readConfig(bundle: string): string {
  try {
    return readFileSync(join(bundle, "config.json"), "utf8")
  } catch (error) {
    throw fromSystem(error, "config.json")
  }
}

async function startShield(order: ShieldOrder, command: readonly string[]): Promise<ShieldReply> {
  const [program = "", ...words] = command
  const child = spawn(program, [...words, JSON.stringify(order)], {
    // Its own standard descriptors are nobody's: the service's are the next three, and then the way back to us.
    stdio: ["ignore", "ignore", "ignore", 0, 1, 2, "pipe"],
    detached: true,
  })
  child.unref()
  const said = await text(child.stdio.at(6) as Readable)
  if (said !== "") return openReply.parse(JSON.parse(said))
  removePlace(order.place)
  throw new CofferError("fault", "the shield ended before it said anything")
}

function revived(error: NonNullable<ShieldReply["error"]>): CofferError {
  const { code, message, hint, reason } = error
  return new CofferError(code as ErrorCode, message, {
    ...(hint === undefined ? {} : { hint }),
    ...(reason === undefined ? {} : { reason }),
  })
}

export function replyOf(error: unknown): ShieldReply {
  if (error === undefined) return {}
  if (typeof error === "object" && error !== null && "runcStatus" in error)
    return { runcStatus: Number(error.runcStatus) }
  if (!(error instanceof CofferError))
    return {
      error: {
        code: "fault",
        message: error instanceof Error ? (error.stack ?? error.message) : "an unknown error",
      },
    }
  const { code, message, hint, reason } = error
  return {
    error: {
      code,
      message,
      ...(hint === undefined ? {} : { hint }),
      ...(reason === undefined ? {} : { reason }),
    },
  }
}

const shieldPatienceMs = 10_000

/** `delete`: runc's own, and then the shield's end, so that the engine can unmount the image. */
export async function deleteContainer(
  global: GlobalOptions,
  rest: readonly string[],
): Promise<Outcome> {
  const { id } = parseDelete(rest)
  const place = placeOf(defaultBase, global.root, id)
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
export function exec(global: GlobalOptions, rest: readonly string[]): Outcome {
  const options = parseExec(rest)
  const place = placeOf(defaultBase, global.root, options.id)
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
