import { Command, Option } from "commander"
import { CofferError } from "../../errors.ts"
import {
  type AgentEvent,
  defaultSocket,
  loadNodeConfig,
  type NodeConfig,
  nodeStatus,
  serveNode,
} from "../../node/index.ts"
import { guardMemory } from "../../shield/index.ts"
import { nodeConfigPath } from "../../sys/index.ts"
import { printCollateral, type Vendor, viewCollateral } from "../collateral-listing.ts"
import type { Io } from "../io.ts"
import { wholeNumber } from "../numbers.ts"
import { signalled } from "../signalled.ts"

interface Options {
  readonly config: string
}

interface ServeOptions extends Options {
  readonly stateDir?: string
  readonly quiet?: true
}

interface CollateralOptions extends Options {
  readonly for?: Vendor
  readonly now?: number
  readonly json?: true
}

interface StatusOptions extends Options {
  readonly json?: true
}

/** `coffer node …`: the agent that measures enclaves on a machine and vouches for them. */
export function nodeCommand(io: Io): Command {
  return new Command("node")
    .description("the node agent: measures enclaves on this machine and vouches for them")
    .addCommand(serveCommand(io))
    .addCommand(statusCommand(io))
    .addCommand(collateralCommand(io))
}

function withConfig(command: Command): Command {
  return command.option("--config <file>", "the node's configuration", nodeConfigPath)
}

function requireConfig(file: string): NodeConfig {
  const config = loadNodeConfig(file)
  if (config !== undefined) return config
  throw new CofferError("missing", `${file}: wanted the node's configuration, found no file`, {
    hint: "write it as docs/node.md says; three lines are enough",
  })
}

function serveCommand(io: Io): Command {
  return withConfig(new Command("serve"))
    .description("serve as the agent until SIGINT or SIGTERM; the runtime finds it by its socket")
    .option("--state-dir <dir>", "where keys stand that end with the boot (default: /run/coffer)")
    .option("--quiet", "no line for each enclave")
    .addHelpText(
      "after",
      "\nExample:\n  coffer node serve                       as root, with /etc/coffer/node.yaml",
    )
    .action(async (options: ServeOptions) => {
      const config = requireConfig(options.config)
      const swap = guardMemory()
      if (swap.length > 0)
        io.warn(
          `swap is on (${swap.join(", ")}): unless it is encrypted, it may get the node's key`,
        )
      const log = (event: AgentEvent) => {
        if (options.quiet === true && event.event !== "refused") return
        io.warn(JSON.stringify({ time: new Date().toISOString(), ...event }))
      }
      const { stateDir } = options
      const agent = await serveNode({
        config,
        log,
        ...(stateDir === undefined ? {} : { directory: stateDir }),
      })
      if (config.platform.type === "insecure-sim")
        io.warn("insecure: the platform is insecure-sim, which proves nothing: for development")
      io.print(`ready ${config.socket}, platform ${agent.platformType}, key ${agent.nodeKey}`)
      await signalled()
      await agent.close()
    })
}

function statusCommand(io: Io): Command {
  return withConfig(new Command("status"))
    .description("what the running agent says: its platform, its key, what it measured since boot")
    .option("--json", "print one JSON document")
    .action(async (options: StatusOptions) => {
      const socket = loadNodeConfig(options.config)?.socket ?? defaultSocket
      const status = await nodeStatus(socket)
      if (options.json === true) {
        io.print(JSON.stringify(status))
        return
      }
      const { platform, nodeKey, engine, enclaves } = status
      for (const line of [
        `platform  ${platform}${platform === "insecure-sim" ? " (insecure: proves nothing)" : ""}`,
        `engine    ${engine}`,
        `key       ${nodeKey}`,
        ...enclaves.map((mrEnclave) => `measured  ${mrEnclave}`),
      ])
        io.print(line)
    })
}

function collateralCommand(io: Io): Command {
  return withConfig(new Command("collateral"))
    .description("show what a folder of collateral holds, what is missing, and what is stale")
    .argument("[path...]", "files and folders (default: the folder of the configuration)")
    .addOption(
      new Option("--for <vendor>", "whose machines (default: this machine's)").choices([
        "intel",
        "amd",
      ]),
    )
    .option(
      "--now <unix>",
      "time to judge by (default: now); a week ahead shows what will be stale",
      wholeNumber(0, 999_999_999_999),
    )
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      `
Nothing is fetched. Exit code 6 when something is missing or stale, so that a timer can tell you.

Examples:
  coffer node collateral
  coffer node collateral /var/lib/coffer/collateral --for intel --json`,
    )
    .action((paths: readonly string[], options: CollateralOptions) =>
      showCollateral(paths, options, io),
    )
}

const needed = 6

function showCollateral(paths: readonly string[], options: CollateralOptions, io: Io): void {
  const config = loadNodeConfig(options.config)
  const configured = config?.collateral === undefined ? [] : [config.collateral]
  const found = paths.length > 0 ? paths : configured
  if (found.length === 0)
    throw new CofferError("usage", "wanted a folder of collateral, found none", {
      hint: `name one, or put it under collateral in ${options.config}`,
    })
  const all = viewCollateral(found, options.now ?? Math.floor(Date.now() / 1000))
  const vendor = options.for ?? vendorOf(config)
  const missing = {
    intel: vendor === "amd" ? [] : all.missing.intel,
    amd: vendor === "intel" ? [] : all.missing.amd,
  }
  const stale = all.items.filter(({ state }) => state !== "current").length
  if (options.json === true) io.print(JSON.stringify({ items: all.items, missing, stale }))
  else printCollateral({ items: all.items, missing }, io)
  // With no machine in mind, what is missing cannot be told from what nobody wants.
  const lacks = vendor === undefined ? [] : missing[vendor]
  if (stale > 0 || lacks.length > 0) io.exitCode = needed
}

function vendorOf(config: NodeConfig | undefined): Vendor | undefined {
  const type = config?.platform.type
  return type === "tdx" ? "intel" : type === "sev-snp" ? "amd" : undefined
}
