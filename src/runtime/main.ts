/** `coffer-oci`: the OCI runtime that container engines call. Prints, exits and reads the environment. */
import { closeSync, writeSync } from "node:fs"
import { CofferError } from "../errors.ts"
import { loadNodeConfig } from "../node/index.ts"
import { type CommandLine, splitCommandLine } from "./command-line.ts"
import { OciLog } from "./oci-log.ts"
import { findRunc } from "./runc.ts"
import {
  defaultCasDirectory,
  type Machine,
  type ShieldOrder,
  serveContainer,
} from "./shield-process.ts"
import { create, deleteContainer, exec, type Outcome, replyOf } from "./verbs.ts"

const self = [process.execPath, ...process.execArgv, process.argv[1] ?? ""]

async function perform({ global, verb, rest }: CommandLine): Promise<Outcome> {
  switch (verb ?? "") {
    case "create":
      return create(global, rest, self)
    case "delete":
      return deleteContainer(global, rest)
    case "exec":
      return exec(global, rest)
    case "run":
    case "checkpoint":
    case "restore":
    case "spec":
      throw new CofferError("refused", `wanted another verb, found ${verb}`, {
        reason: "verb",
        hint: "enclaves are not copied out of memory; coffer run starts one without an engine",
      })
    default:
      return {
        kind: "runc",
        argv: [findRunc(), ...global.given, ...(verb === undefined ? [] : [verb]), ...rest],
      }
  }
}

async function shield({ global, rest }: CommandLine): Promise<void> {
  // An engine signals whole process groups; the shield's end is the container's end and nothing else.
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(signal, () => undefined)
  const order = JSON.parse(rest[0] ?? "") as ShieldOrder
  const log = new OciLog(global)
  let told = false
  await serveContainer(order, machineOf(log), log, (error) => {
    if (told) return
    told = true
    writeSync(6, JSON.stringify(replyOf(error)))
    closeSync(6)
  })
}

/** A machine that is configured is what its configuration says; on another one, tests choose. */
function machineOf(log: OciLog): Machine {
  const node = loadNodeConfig()
  if (node !== undefined) return { node, casDirectory: defaultCasDirectory }
  const [config, directory] = ["COFFER_INSECURE_NODE_CONFIG", "COFFER_INSECURE_CAS_DIR"].map(
    (name) => {
      // oxlint-disable-next-line node/no-process-env -- an entry; the engine's environment chooses whom the enclave trusts
      const value = process.env[name]
      if (value !== undefined) log.write("warning", `${name}: ${value}`)
      return value
    },
  )
  return {
    node: config === undefined ? undefined : loadNodeConfig(config),
    casDirectory: directory ?? defaultCasDirectory,
  }
}

async function main(argv: readonly string[]): Promise<void> {
  const line = splitCommandLine(argv)
  if (line.verb === "shield") return shield(line)
  try {
    const outcome = await perform(line)
    if (outcome.kind === "exit") process.exitCode = outcome.status
    // oxlint-disable-next-line node/no-process-env -- an entry: runc gets what we got
    else process.execve?.(outcome.argv[0] ?? "", [...outcome.argv], process.env)
  } catch (error) {
    report(error, line)
    process.exitCode = 1
  }
}

function report(error: unknown, { global }: CommandLine): void {
  const known = error instanceof CofferError
  const hint = known && error.hint !== undefined ? `; hint: ${error.hint}` : ""
  const message = error instanceof Error ? error.message : String(error)
  new OciLog(global).write(
    "error",
    `coffer: ${message}${hint}`,
    known ? { code: error.code, reason: error.reason } : {},
  )
  process.stderr.write(`coffer-oci: ${message}${hint}\n`)
}

await main(process.argv.slice(2))
