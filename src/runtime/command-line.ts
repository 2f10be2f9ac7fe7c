import { parseArgs } from "node:util"
import { CofferError } from "../errors.ts"

/** The options before the verb, which engines give to every OCI runtime. */
export interface GlobalOptions {
  readonly root: string
  readonly log: string | undefined
  readonly logJson: boolean
  /** As they were given, for runc. */
  readonly given: readonly string[]
}

export interface CommandLine {
  readonly global: GlobalOptions
  readonly verb: string | undefined
  /** What follows the verb. */
  readonly rest: readonly string[]
}

const valued = new Set(["--root", "--log", "--log-format", "--rootless", "--criu"])

export function splitCommandLine(argv: readonly string[]): CommandLine {
  const values = new Map<string, string>()
  let at = 0
  for (; at < argv.length; at += 1) {
    const word = argv[at] ?? ""
    if (!word.startsWith("-")) break
    const [name = "", value] = word.split("=", 2)
    if (!valued.has(name)) values.set(name, "")
    else if (value !== undefined) values.set(name, value)
    else {
      at += 1
      values.set(name, argv[at] ?? "")
    }
  }
  return {
    global: {
      root: values.get("--root") ?? "/run/runc",
      log: values.get("--log"),
      logJson: values.get("--log-format") === "json",
      given: argv.slice(0, at),
    },
    verb: argv[at],
    rest: argv.slice(at + 1),
  }
}

export interface CreateOptions {
  readonly id: string
  readonly bundle: string
  /** Given on to runc as they are. */
  readonly passed: readonly string[]
}

export function parseCreate(rest: readonly string[]): CreateOptions {
  const { values, positionals } = parse(rest, {
    bundle: { type: "string", short: "b", default: "." },
    "pid-file": { type: "string" },
    "console-socket": { type: "string" },
    "no-new-keyring": { type: "boolean" },
    "no-pivot": { type: "boolean" },
    "preserve-fds": { type: "string" },
  })
  refuseOptions(values)
  const [id = ""] = positionals
  return {
    id,
    bundle: String(values["bundle"]),
    passed: passOn(values, ["pid-file", "console-socket"]),
  }
}

export interface ExecOptions {
  readonly id: string
  /** The engine's process.json. */
  readonly process: string
  readonly passed: readonly string[]
}

export function parseExec(rest: readonly string[]): ExecOptions {
  const { values, positionals } = parse(rest, {
    process: { type: "string", short: "p" },
    "pid-file": { type: "string" },
    "console-socket": { type: "string" },
    detach: { type: "boolean", short: "d" },
    "preserve-fds": { type: "string" },
    "no-pivot": { type: "boolean" },
  })
  refuseOptions(values)
  const [id = ""] = positionals
  const process = values["process"]
  if (typeof process !== "string")
    throw new CofferError("usage", "exec: wanted --process FILE, found none")
  const passed = passOn(values, ["pid-file", "console-socket"])
  return { id, process, passed: values["detach"] === true ? [...passed, "--detach"] : passed }
}

export function parseDelete(rest: readonly string[]): { readonly id: string } {
  const { positionals } = parse(rest, { force: { type: "boolean", short: "f" } })
  return { id: positionals[0] ?? "" }
}

type Options = NonNullable<NonNullable<Parameters<typeof parseArgs>[0]>["options"]>
type Values = Readonly<Record<string, unknown>>

function parse(rest: readonly string[], options: Options) {
  try {
    const { values, positionals } = parseArgs({ args: [...rest], options, allowPositionals: true })
    return { values: values as Values, positionals }
  } catch (cause) {
    throw new CofferError("usage", cause instanceof Error ? cause.message : String(cause), {
      cause,
    })
  }
}

function passOn(values: Values, names: readonly string[]): string[] {
  return names.flatMap((name) => {
    const value = values[name]
    return typeof value === "string" ? [`--${name}`, value] : []
  })
}

// A descriptor of the host's in the enclave would be a way in; without pivot_root the host's tree stays under it.
function refuseOptions(values: Values): void {
  const fds = values["preserve-fds"]
  if (fds !== undefined && fds !== "0")
    throw new CofferError("refused", `--preserve-fds: wanted 0, found ${JSON.stringify(fds)}`)
  if (values["no-pivot"] === true)
    throw new CofferError("refused", "--no-pivot: wanted pivot_root, found it switched off")
}
