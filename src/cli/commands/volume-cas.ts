import { Command } from "commander"
import { toHex } from "../../bytes/index.ts"
import type { ActBody, VolumeView } from "../../cas/index.ts"
import { CofferError } from "../../errors.ts"
import { act, type CasOptions, withCasOptions, withClient } from "../cas-options.ts"
import type { Io } from "../io.ts"
import { propose } from "./policy-acts.ts"

interface Options extends CasOptions {
  readonly yes?: true
  readonly to?: string
  readonly sequence?: string
  readonly json?: true
  readonly propose?: string
  readonly valid: string
}

/** The verbs of `coffer volume` that are acts at the CAS: signed by access keys, logged, and never a default. */
export function volumeCasCommands(io: Io): readonly Command[] {
  return [resetCommand(io), restoreCommand(io)]
}

function withActOptions(command: Command): Command {
  return withCasOptions(command)
    .option("--propose <act>", "do nothing yet: write the act to a file for the others to sign")
    .option("--valid <days>", "with --propose: how long it may be submitted, 1 to 7 days", "2")
}

const what = "POLICY/VOLUME or POLICY/VOLUME/INSTANCE"

function resetCommand(io: Io): Command {
  const command = new Command("reset")
    .description(
      "at the CAS: a new, empty volume in this one's place; its key, and so its contents, are gone",
    )
    .argument("<volume>", what)
    .option("--yes", "yes, destroy the contents")
    .option("--json", "print one JSON document")
  return withActOptions(command).action(async (name: string, options: Options) => {
    await perform(io, name, options, (view, place) => {
      if (options.yes !== true)
        throw new CofferError(
          "usage",
          `--yes: wanted a word that the contents of ${view.name} (commit ${view.sequence}) may be destroyed, found none`,
        )
      return {
        verb: "reset-volume",
        ...place,
        id: view.id,
        current: { sequence: view.sequence, tag: view.tag },
      }
    })
  })
}

function restoreCommand(io: Io): Command {
  const command = new Command("restore")
    .description(
      "at the CAS: an older state counts as the newest again; a running writer is fenced",
    )
    .argument("<volume>", what)
    .requiredOption(
      "--to <tag>",
      "the tag of the older state, 64 hex digits; coffer cas audit show has them all",
    )
    .requiredOption("--sequence <number>", "its commit number")
    .option("--json", "print one JSON document")
  return withActOptions(command).action(async (name: string, options: Options) => {
    const sequence = Number(options.sequence)
    if (!/^[0-9a-f]{64}$/.test(options.to ?? "") || !Number.isSafeInteger(sequence))
      throw new CofferError(
        "usage",
        `--to and --sequence: wanted 64 hex digits and a number, found ${options.to ?? ""} and ${options.sequence ?? ""}`,
      )
    await perform(io, name, options, (view, place) => ({
      verb: "restore-volume",
      ...place,
      current: { sequence: view.sequence, tag: view.tag },
      target: { sequence, tag: options.to ?? "" },
    }))
  })
}

interface Place {
  readonly volume: string
  readonly instance: number
}

/** Reads what the CAS has, and signs an act that names it: whoever moved the volume in between makes it fail. */
async function perform(
  io: Io,
  name: string,
  options: Options,
  bodyOf: (view: VolumeView, place: Place) => ActBody,
): Promise<void> {
  const [, policy, volume, instance = "0"] = /^([^/]+)\/([^/]+)(?:\/(\d{1,4}))?$/.exec(name) ?? []
  if (policy === undefined || volume === undefined)
    throw new CofferError("usage", `wanted ${what}, found ${JSON.stringify(name)}`)
  await withClient(options, io, async (client) => {
    const read = await act(client, options, policy, { verb: "read-policy" })
    const full = `${policy}/${volume}/${instance}`
    const view =
      read.verb === "read-policy" ? read.volumes.find((one) => one.name === full) : undefined
    if (view === undefined)
      throw new CofferError("missing", `wanted a volume that the CAS has, found no ${full}`, {
        hint: "coffer policy show lists them; a volume is there after its first use",
      })
    const body = bodyOf(view, { volume, instance: Number(instance) })
    const out = options.propose
    if (out !== undefined) {
      const casKey = toHex(client.casKey)
      await propose(io, { ...options, casKey, out }, policy, body)
      return
    }
    const result = await act(client, options, policy, body)
    if (result.verb !== "reset-volume" && result.verb !== "restore-volume")
      throw new TypeError("an act answers with its verb")
    const { state, sequence, tag, epoch } = result.volume
    if (options.json === true) io.print(JSON.stringify(result.volume))
    else io.print(`${full}: ${state}, commit ${sequence}, tag ${tag}, epoch ${epoch}`)
  })
}
