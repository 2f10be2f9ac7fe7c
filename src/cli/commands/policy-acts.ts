import { readFileSync, renameSync } from "node:fs"
import { Command } from "commander"
import { fromHex, toHex } from "../../bytes/index.ts"
import {
  type ActBody,
  type ActResult,
  actFileText,
  cosign,
  mergeActs,
  parseActFile,
  type SignedAct,
  unsignedAct,
  writeNewFile,
} from "../../cas/index.ts"
import { CofferError, fromSystem } from "../../errors.ts"
import { diffPolicies, type Policy, policyFromValue, policyHash } from "../../policy/index.ts"
import { type CasOptions, collect, readKeys, withCasOptions, withClient } from "../cas-options.ts"
import type { Io } from "../io.ts"
import { changeLine, givenOf, readPolicyFile } from "../policy-file.ts"

/** What M of N owners do, each on a machine of their own, with a file that goes from one to the next. */
export function policyActCommands(io: Io): readonly Command[] {
  return [proposeCommand(io), signCommand(io), submitCommand(io)]
}

interface ProposeOptions extends CasOptions {
  readonly out: string
  readonly valid: string
  readonly secret?: readonly string[]
}

function proposeCommand(io: Io): Command {
  const command = new Command("propose")
    .description("write a policy's update to a file, for several owners to sign")
    .argument("<file>", "a policy in YAML")
    .requiredOption("--out <act>", "the new file; it travels from owner to owner")
    .option("--valid <days>", "how long it may be submitted, 1 to 7 days", "2")
    .option("--secret <name=file>", "the value of a secret of kind given; again for more", collect)
    .addHelpText(
      "after",
      `
Needs no connection: --cas-key is the key of the CAS that it is for. With --key it is signed at once.

Example (2 of 3 owners):
  alice$ coffer policy propose shop-2.yaml --out update.act --cas-key HEX --key alice.pem
  bob$   coffer policy sign update.act --before shop.yaml --key bob.pem
  bob$   coffer policy submit update.act --cas https://HOST:8441 --cas-key HEX`,
    )
  return withCasOptions(command).action(async (file: string, options: ProposeOptions) => {
    const policy = readPolicyFile(file)
    const given = givenOf(options.secret ?? [])
    await propose(io, options, policy.name, { verb: "put-policy", document: policy, given })
    if (Object.keys(given).length > 0)
      io.warn(
        `${options.out} holds the values of secrets: hand it over as you would hand over them`,
      )
  })
}

/** Writes an act to a new file of mode 0600, signed by the keys that are given, if any. */
export async function propose(
  io: Io,
  options: CasOptions & { readonly out: string; readonly valid: string },
  policy: string,
  body: ActBody,
): Promise<void> {
  const days = Number(options.valid)
  if (!Number.isInteger(days) || days < 1 || days > 7)
    throw new CofferError("usage", `--valid: wanted 1 to 7 days, found ${options.valid}`)
  // A minute less than a week: the clocks of two machines differ.
  const expires = Math.floor(Date.now() / 1000) + days * 86_400 - 60
  const cas = await casKeyOf(options, io)
  const act = unsignedAct({ version: 1, cas, policy, expires, body })
  const signed = options.key === undefined ? act : cosign(act, readKeys(options))
  writeNewFile(options.out, actFileText(signed))
  for (const line of summary(signed)) io.print(line)
  io.warn(`next: the others sign it (coffer policy sign ${options.out} --key KEY.pem), then one`)
  io.warn(`of you has it performed (coffer policy submit ${options.out})`)
}

async function casKeyOf(options: CasOptions, io: Io): Promise<string> {
  const given = options.casKey
  if (given === undefined && options.cas === undefined)
    return await withClient(options, io, (client) => Promise.resolve(toHex(client.casKey)))
  if (given !== undefined && fromHex(given)?.length === 32) return given
  throw new CofferError("usage", `--cas-key: wanted 64 hex digits, found ${given ?? "nothing"}`)
}

interface SignOptions {
  readonly key?: readonly string[]
  readonly before?: string
}

function signCommand(io: Io): Command {
  return new Command("sign")
    .description("show what an act would do and, with --key, add a signature to its file")
    .argument("<act>", "a file that coffer policy propose, or coffer volume reset --propose, wrote")
    .option("--key <pem>", "your access key; without it the act is only shown", collect)
    .option("--before <file>", "the policy as it is now, in YAML: what changes is shown")
    .action((file: string, options: SignOptions) => {
      const signed = readAct(file)
      for (const line of summary(signed)) io.print(line)
      for (const line of changes(signed, options.before)) io.print(line)
      if (options.key === undefined) return
      const both = cosign(signed, readKeys(options))
      replaceFile(file, actFileText(both))
      io.warn(`signed: ${both.signatures.length} signatures are in ${file} now`)
    })
}

interface SubmitOptions extends CasOptions {
  readonly json?: true
}

function submitCommand(io: Io): Command {
  const command = new Command("submit")
    .description("have a signed act performed by the CAS")
    .argument("<act...>", "the file; or copies of it, each with other signatures")
    .option("--json", "print one JSON document")
  return withCasOptions(command).action(async (files: string[], options: SubmitOptions) => {
    const before = mergeActs(files.map(readAct))
    const signed = options.key === undefined ? before : cosign(before, readKeys(options))
    if (signed.signatures.length === 0)
      throw new CofferError("usage", `${files.join(", ")}: wanted signatures, found none`, {
        hint: "coffer policy sign ACT --key KEY.pem adds one",
      })
    const result = await withClient(options, io, (client) => client.act(signed))
    io.print(options.json === true ? JSON.stringify(result) : outcome(signed, result))
  })
}

function outcome({ act }: SignedAct, result: ActResult): string {
  switch (result.verb) {
    case "put-policy":
      return `${act.policy}: revision ${result.revision}, hash ${result.hash}`
    case "restore-volume":
    case "reset-volume":
    case "rekey-volume": {
      const { name, state, sequence, tag, epoch } = result.volume
      return `${name}: ${state}, commit ${sequence}, tag ${tag}, epoch ${epoch}`
    }
    case "read-policy":
    case "list-policies":
      return JSON.stringify(result)
  }
}

function readAct(file: string): SignedAct {
  try {
    return parseActFile(readFileSync(file, "utf8"), file)
  } catch (error) {
    throw fromSystem(error, file)
  }
}

/** The whole file or the old one, also when the machine stops in between. */
function replaceFile(file: string, text: string): void {
  const beside = `${file}.new`
  writeNewFile(beside, text)
  try {
    renameSync(beside, file)
  } catch (error) {
    throw fromSystem(error, file)
  }
}

/** What the signature will be over, in the words of the policy language. */
function summary({ act, signatures }: SignedAct): string[] {
  const { body, cas, expires } = act
  const known = body.verb === "put-policy" ? documentOf(body).access.keys : {}
  const nameOf = (key: string): string => {
    const name = Object.entries(known).find(([, value]) => value === key)?.[0]
    if (name !== undefined) return ` (${name})`
    return body.verb === "put-policy" ? " (not in the new document)" : ""
  }
  return [
    `${body.verb} ${act.policy}`,
    `  CAS        ${cas}`,
    `  until      ${new Date(expires * 1000).toISOString()}`,
    ...detail(act.policy, body),
    ...signatures.map(({ key }) => `  signed by  ${key}${nameOf(key)}`),
    ...(signatures.length === 0 ? ["  signed by  nobody yet"] : []),
  ]
}

function documentOf(body: Extract<ActBody, { verb: "put-policy" }>): Policy {
  return policyFromValue(body.document, "the act's document")
}

function detail(policy: string, body: ActBody): string[] {
  switch (body.verb) {
    case "put-policy": {
      const document = documentOf(body)
      const given = Object.keys(body.given)
      return [
        `  document   ${policyHash(document)} (coffer policy check prints the same for the file)`,
        `  replaces   ${document.predecessor ?? "nothing: it is the first"}`,
        ...(given.length === 0 ? [] : [`  values of  ${given.join(", ")}`]),
      ]
    }
    case "restore-volume":
      return [
        `  volume     ${policy}/${body.volume}/${body.instance}`,
        `  from       commit ${body.current.sequence}, tag ${body.current.tag}`,
        `  back to    commit ${body.target.sequence}, tag ${body.target.tag}`,
      ]
    case "reset-volume":
      return [
        `  volume     ${policy}/${body.volume}/${body.instance}`,
        `  DESTROYS   its contents, commit ${body.current.sequence}, tag ${body.current.tag}`,
      ]
    case "rekey-volume":
      return [
        `  volume     ${policy}/${body.volume}/${body.instance}, generation ${body.generation}`,
      ]
    case "read-policy":
    case "list-policies":
      return []
  }
}

function changes({ act }: SignedAct, before: string | undefined): string[] {
  if (before === undefined) return []
  if (act.body.verb !== "put-policy")
    throw new CofferError("usage", `--before: wanted an act on a document, found ${act.body.verb}`)
  const old = readPolicyFile(before)
  const after = documentOf(act.body)
  if (after.predecessor !== policyHash(old))
    throw new CofferError(
      "config",
      `${before}: wanted the document that the act replaces (${after.predecessor ?? "none"}), found ${policyHash(old)}`,
    )
  const list = diffPolicies(old, after).map(changeLine)
  return list.length === 0 ? ["no difference"] : list
}
