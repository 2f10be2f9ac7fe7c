/** All of `coffer-oci` but its first step. Prints, exits and reads the environment. */
import { closeSync, existsSync, writeSync } from "node:fs"
import { CofferError } from "../errors.ts"
import type { NodeConfig } from "../node/index.ts"
import { nodeConfigPath } from "../sys/index.ts"
import { type CommandLine, splitCommandLine } from "./command-line.ts"
import { type Directories, directoriesOf } from "./directories.ts"
import { OciLog } from "./oci-log.ts"
import { findRunc } from "./runc.ts"
import { type Machine, serveContainer } from "./shield-process.ts"
import type { Outcome } from "./verbs.ts"

function directories(): Directories {
  // oxlint-disable-next-line node/no-process-env -- an entry; looked at only where an ordinary user owns us anyway
  return directoriesOf(process.env)
}

async function perform({ global, verb, rest }: CommandLine): Promise<Outcome> {
  switch (verb ?? "") {
    case "delete":
      return (await import("./verbs.ts")).deleteContainer(global, rest, directories().base)
    case "exec":
      return (await import("./verbs.ts")).exec(global, rest, directories().base)
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

/**
 * `shield ENGINE-PID … create …`: the launcher starts the shield itself, with the engine's standard descriptors as 3, 4 and 5, and
 * waits for one line on 6: the status to end with.
 */
async function shield(engine: number, line: CommandLine): Promise<void> {
  // An engine signals whole process groups; the shield's end is the container's end and nothing else.
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(signal, () => undefined)
  const { global, rest } = line
  const log = new OciLog(global)
  let told = false
  await serveContainer(
    { global, rest, engine, stdio: [3, 4, 5] },
    await machineOf(log),
    log,
    (outcome) => {
      if (told) return
      told = true
      if (outcome instanceof Error) report(outcome, line, engineErrors)
      writeSync(6, `${outcome instanceof Error ? 1 : outcome}\n`)
      for (const fd of [3, 4, 5, 6]) closeSync(fd)
    },
  )
}

/** A machine that is configured is what its configuration says; on another one, tests choose. */
async function machineOf(log: OciLog): Promise<Machine> {
  const node = existsSync(nodeConfigPath) ? await nodeConfig() : undefined
  const own = directories()
  if (node !== undefined) return { node, directories: own }
  const [config, cas = own.cas] = ["COFFER_INSECURE_NODE_CONFIG", "COFFER_INSECURE_CAS_DIR"].map(
    (name) => {
      // oxlint-disable-next-line node/no-process-env -- an entry; the engine's environment chooses whom the enclave trusts
      const value = process.env[name]
      if (value !== undefined) log.write("warning", `${name}: ${value}`)
      return value
    },
  )
  return {
    node: config === undefined ? undefined : await nodeConfig(config),
    directories: { ...own, cas },
  }
}

/** What reads it is a third of this program, and most machines have none. */
async function nodeConfig(file?: string): Promise<NodeConfig | undefined> {
  const { loadNodeConfig } = await import("../node/index.ts")
  return loadNodeConfig(file)
}

async function main(argv: readonly string[]): Promise<void> {
  if (argv[0] === "shield") {
    await shield(Number(argv[1]), splitCommandLine(argv.slice(2)))
    // Whatever may still be open in it: a shield without a container is nobody's.
    process.exit()
  }
  const line = splitCommandLine(argv)
  try {
    const outcome = await perform(line)
    if (outcome.kind === "exit") process.exitCode = outcome.status
    // oxlint-disable-next-line node/no-process-env -- an entry: runc gets what we got
    else process.execve?.(outcome.argv[0] ?? "", [...outcome.argv], process.env)
  } catch (error) {
    report(error, line, ownErrors)
    process.exitCode = 1
  }
}

const ownErrors = 2
const engineErrors = 5

function report(error: unknown, { global }: CommandLine, fd: number): void {
  const known = error instanceof CofferError
  const hint = known && error.hint !== undefined ? `; hint: ${error.hint}` : ""
  const message = error instanceof Error ? error.message : String(error)
  new OciLog(global).write(
    "error",
    `coffer: ${message}${hint}`,
    known ? { code: error.code, reason: error.reason } : {},
  )
  writeSync(fd, `coffer-oci: ${message}${hint}\n`)
}

await main(process.argv.slice(2))
