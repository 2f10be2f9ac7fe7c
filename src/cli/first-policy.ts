import { createPublicKey } from "node:crypto"
import type { Command } from "commander"
import { rawPublicKey } from "../attest/index.ts"
import { toHex } from "../bytes/index.ts"
import { parsePolicy } from "../policy/index.ts"
import { imageKeySecret } from "../protect/index.ts"
import { act, type CasOptions, readKeys, withCasOptions, withClient } from "./cas-options.ts"
import type { Io } from "./io.ts"

export interface FirstPolicyOptions extends CasOptions {
  readonly createPolicy?: true
}

/** For `coffer protect`: the policy goes into a CAS at once, and the image's key with it. */
export function withPolicyOptions(command: Command): Command {
  return withCasOptions(
    command.option(
      "--create-policy",
      "with --key: put the first policy straight into the CAS, and the key of encrypted content with it",
    ),
  )
}

/** The public half of the first access key: who may change the policy. */
export function firstAccessKey(options: FirstPolicyOptions): string {
  const [key] = readKeys(options)
  if (key === undefined) throw new TypeError("readKeys gives one at least")
  return toHex(rawPublicKey(createPublicKey(key)))
}

/** Returns what was made, for people. */
export async function createFirstPolicy(
  text: string,
  imageKey: Uint8Array | undefined,
  options: FirstPolicyOptions,
  io: Io,
): Promise<string> {
  const document = parsePolicy(text, "policy skeleton")
  const given =
    imageKey === undefined
      ? {}
      : { [imageKeySecret]: Buffer.from(`${toHex(imageKey)}\n`).toString("base64") }
  const body = { verb: "put-policy" as const, document, given }
  const { name } = document
  const result = await withClient(options, io, (client) => act(client, options, name, body))
  if (result.verb !== "put-policy") throw new TypeError("an act answers with its verb")
  return `${name}: revision ${result.revision}, hash ${result.hash}`
}
