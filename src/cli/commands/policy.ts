import { Command } from "commander"
import type { CasClient } from "../../cas/index.ts"
import { CofferError } from "../../errors.ts"
import {
  diffPolicies,
  type Policy,
  parsePolicy,
  policyHash,
  policySkeleton,
  policyWarnings,
} from "../../policy/index.ts"
import { act, type CasOptions, collect, withCasOptions, withClient } from "../cas-options.ts"
import type { Io } from "../io.ts"
import { changeLine, givenOf, readPolicyFile } from "../policy-file.ts"
import { simulate } from "../simulate.ts"
import { policyActCommands } from "./policy-acts.ts"

interface PutOptions extends CasOptions {
  readonly secret?: readonly string[]
  readonly json?: true
}

/** `coffer policy …`: documents of a CAS, and what they would say. */
export function policyCommand(io: Io): Command {
  const command = new Command("policy")
    .description("who may have which keys: write, check, and put into a CAS")
    .addCommand(newCommand(io))
    .addCommand(checkCommand(io))
    .addCommand(diffCommand(io))
    .addCommand(putCommand(io, "create"))
    .addCommand(putCommand(io, "update"))
    .addCommand(showCommand(io))
    .addCommand(listCommand(io))
  for (const one of policyActCommands(io)) command.addCommand(one)
  return command
}

interface NewOptions {
  readonly mrenclave: string
  readonly service: string
  readonly volume?: readonly string[]
  readonly accessKey?: string
}

function newCommand(io: Io): Command {
  return new Command("new")
    .description("print a policy to begin with")
    .argument("<name>", "the policy's name")
    .requiredOption("--mrenclave <hex>", "what coffer measure prints")
    .option("--service <name>", "the service's name", "web")
    .option("--volume <name>", "an encrypted volume; again for more", collect)
    .option("--access-key <hex>", "what coffer keygen --access prints: who may change the policy")
    .addHelpText(
      "after",
      "\nExample:\n  coffer policy new shop --mrenclave $(coffer measure web) --volume data > shop.yaml",
    )
    .action((name: string, options: NewOptions) => {
      const volumes = (options.volume ?? []).map((volume) => ({
        name: volume,
        protection: "encrypted" as const,
      }))
      const { mrenclave, service, accessKey } = options
      const text = policySkeleton({
        name,
        service,
        mrEnclave: mrenclave,
        volumes,
        ...(accessKey === undefined ? {} : { admin: accessKey }),
      })
      // With the key filled in it must be a good policy: names and digits came from the command line.
      if (accessKey !== undefined) parsePolicy(text, "the new policy")
      io.write(Buffer.from(text))
    })
}

function checkCommand(io: Io): Command {
  return new Command("check")
    .description("check a policy offline; --simulate asks it a question")
    .argument("<file>", "a policy in YAML")
    .option(
      "--simulate <what>",
      "service=NAME,mrenclave=HEX,platform=NAME,volume=NAME[:read|:write],…",
    )
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      `
--simulate takes: service, mrenclave, mrsigner, product, svn, debug (true), runtime (0.1.0), platform (a name
in the policy; its evidence is taken to be good), volume (NAME, NAME:read or NAME:write, NAME:write:INSTANCE).

Example:
  coffer policy check shop.yaml --simulate service=web,mrenclave=$(coffer measure web),platform=dev,volume=data`,
    )
    .action((file: string, options: { readonly simulate?: string; readonly json?: true }) => {
      const policy = readPolicyFile(file)
      for (const warning of policyWarnings(policy)) io.warn(`warning: ${warning}`)
      const answer = options.simulate === undefined ? undefined : simulate(policy, options.simulate)
      const hash = policyHash(policy)
      if (options.json === true)
        io.print(
          JSON.stringify({
            file,
            name: policy.name,
            hash,
            warnings: policyWarnings(policy),
            ...answer,
          }),
        )
      else io.print(answer === undefined ? `${file}: a good policy, hash ${hash}` : answer.sentence)
      if (answer?.accepted === false) io.exitCode = 5
    })
}

function diffCommand(io: Io): Command {
  return new Command("diff")
    .description("what differs between two policies, and what gives more than before")
    .argument("<before>", "a policy in YAML")
    .argument("<after>", "a policy in YAML")
    .option("--json", "print one JSON document")
    .action((before: string, after: string, options: { readonly json?: true }) => {
      const changes = diffPolicies(readPolicyFile(before), readPolicyFile(after))
      if (options.json === true) io.print(JSON.stringify({ changes }))
      else for (const change of changes) io.print(changeLine(change))
      if (changes.length === 0 && options.json !== true) io.print("no difference")
    })
}

function putCommand(io: Io, verb: "create" | "update"): Command {
  const command = new Command(verb)
    .description(
      verb === "create"
        ? "put a new policy into a CAS"
        : "replace a policy; the file names its predecessor",
    )
    .argument("<file>", "a policy in YAML")
    .option("--secret <name=file>", "the value of a secret of kind given; again for more", collect)
    .option("--json", "print one JSON document")
  return withCasOptions(command).action(async (file: string, options: PutOptions) => {
    const policy = readPolicyFile(file)
    for (const warning of policyWarnings(policy)) io.warn(`warning: ${warning}`)
    requireFirst(verb, policy)
    const body = {
      verb: "put-policy" as const,
      document: policy,
      given: givenOf(options.secret ?? []),
    }
    const result = await withClient(options, io, (client) =>
      act(client, options, policy.name, body),
    )
    if (result.verb !== "put-policy") throw new TypeError("an act answers with its verb")
    if (options.json === true) io.print(JSON.stringify({ name: policy.name, ...result }))
    else {
      io.print(`${policy.name}: revision ${result.revision}, hash ${result.hash}`)
      io.warn(`the next document begins with  predecessor: "${result.hash}"`)
    }
  })
}

function requireFirst(verb: "create" | "update", policy: Policy): void {
  if (verb === "create" && policy.predecessor !== undefined)
    throw new CofferError("config", "predecessor: wanted none in a new policy, found one", {
      hint: "coffer policy update replaces a policy",
    })
  if (verb === "update" && policy.predecessor === undefined)
    throw new CofferError(
      "config",
      "predecessor: wanted the hash of the document that this one replaces, found none",
      {
        hint: "coffer policy show NAME prints it",
      },
    )
}

interface ShowOptions extends CasOptions {
  readonly hash?: true
}

function showCommand(io: Io): Command {
  const command = new Command("show")
    .description(
      "the current document of a policy and its volumes, as JSON; no value of a secret is ever shown",
    )
    .argument("<name>", "the policy's name")
    .option("--hash", "only the document's hash: the next one's predecessor")
  return withCasOptions(command).action(async (name: string, options: ShowOptions) => {
    const result = await withClient(options, io, (client) =>
      act(client, options, name, { verb: "read-policy" }),
    )
    if (result.verb !== "read-policy") throw new TypeError("an act answers with its verb")
    io.print(options.hash === true ? result.hash : JSON.stringify(result, null, 2))
  })
}

function listCommand(io: Io): Command {
  const command = new Command("list")
    .description("the policies that a key may read")
    .option("--json", "print one JSON document")
  return withCasOptions(command).action(async (options: PutOptions) => {
    await withClient(options, io, async (client) => {
      const all: { readonly name: string; readonly hash: string; readonly revision: number }[] = []
      for (let after: string | undefined = ""; after !== undefined; ) {
        const page = await listPage(client, options, after)
        if (options.json === true) all.push(...page.policies)
        else
          for (const { name, revision, hash } of page.policies)
            io.print(`${name}  revision ${revision}  ${hash}`)
        after = page.after
      }
      if (options.json === true) io.print(JSON.stringify({ policies: all }))
    })
  })
}

async function listPage(client: CasClient, options: CasOptions, after: string) {
  const body = { verb: "list-policies" as const, ...(after === "" ? {} : { after }) }
  const result = await act(client, options, "", body)
  if (result.verb !== "list-policies") throw new TypeError("an act answers with its verb")
  return result
}
