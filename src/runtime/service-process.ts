import { CofferError } from "../errors.ts"
import { type MeasuredManifest, patternMatches } from "../manifest/index.ts"
import type { EngineConfig } from "./engine-config.ts"
import { refuse } from "./refuse.ts"

/** The process of a container as runc takes it. */
export interface ServiceProcess {
  readonly terminal: boolean
  readonly consoleSize?: Readonly<Record<string, unknown>>
  readonly user: {
    readonly uid: number
    readonly gid: number
    readonly umask: number
    readonly additionalGids: readonly number[]
  }
  readonly args: readonly string[]
  readonly env: readonly string[]
  readonly cwd: string
  readonly capabilities: Readonly<Record<string, readonly string[]>>
  readonly rlimits: readonly {
    readonly type: string
    readonly hard: number
    readonly soft: number
  }[]
  readonly noNewPrivileges: boolean
  readonly apparmorProfile?: string
  readonly selinuxLabel?: string
  readonly oomScoreAdj?: number
}

export interface ProcessChoice {
  readonly process: ServiceProcess
  /** Variables of the engine's that did not get in. */
  readonly dropped: readonly string[]
}

/** The service's command, from the engine's `args`: what follows the sealed binary's path must be allowed. */
export function serviceArguments(
  manifest: MeasuredManifest,
  args: readonly string[],
  sealedPath: string,
): string[] {
  const [program, ...appended] = args
  if (program !== sealedPath)
    throw refuse(
      "process.args[0]",
      sealedPath,
      JSON.stringify(program ?? ""),
      "leave entrypoint and command to the image: they are in its measured manifest",
    )
  const bad = appended.find(
    (argument) => !manifest.args.allow.some((pattern) => patternMatches(pattern, argument)),
  )
  if (bad === undefined) return [...manifest.argv, ...appended]
  throw refuse(
    "process.args",
    manifest.args.allow.length === 0
      ? "no arguments, since the measured manifest allows none"
      : "arguments that the measured manifest allows",
    JSON.stringify(bad.slice(0, 80)),
    "list a pattern for it under service.args.allow in coffer.yaml, and protect the image again",
  )
}

// What engines set in every container, whoever asks or not. Everything else was asked for by somebody, who must know that it does not get in.
const engineVariables =
  /^(PATH|HOME|HOSTNAME|TERM|container|(https?|ftp|no|all)_proxy|(HTTPS?|FTP|NO|ALL)_PROXY|KUBERNETES_.*|[A-Z0-9_]+_SERVICE_(HOST|PORT(_.*)?)|[A-Z0-9_]+_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?|LISTEN_(PID|FDS|FDNAMES)|NOTIFY_SOCKET|NSS_SDB_USE_CACHE)$/

/** The environment: what the manifest sets, and of the engine's what it allows. */
export function serviceEnvironment(
  manifest: MeasuredManifest,
  lines: readonly string[],
): { readonly env: readonly string[]; readonly dropped: readonly string[] } {
  const env = new Map(Object.entries(manifest.env.set))
  const dropped: string[] = []
  for (const line of lines) {
    const equals = line.indexOf("=")
    const name = equals < 0 ? line : line.slice(0, equals)
    const value = equals < 0 ? "" : line.slice(equals + 1)
    const pattern = Object.hasOwn(manifest.env.allow, name) ? manifest.env.allow[name] : undefined
    if (pattern !== undefined) {
      if (!patternMatches(pattern, value))
        throw refuse(
          `process.env: ${name}`,
          "a value that matches the measured manifest's pattern",
          "another",
        )
      env.set(name, value)
    } else if (manifest.env.set[name] === value) continue
    else if (engineVariables.test(name)) dropped.push(name)
    else
      throw refuse(
        "process.env",
        "variables that the measured manifest allows",
        name,
        `list ${name} under env.allow in coffer.yaml, and protect the image again`,
      )
  }
  return { env: [...env].map(([name, value]) => `${name}=${value}`), dropped }
}

/** Docker's default set without MKNOD: what services of ordinary images may need inside. */
const allowedCapabilities: ReadonlySet<string> = new Set([
  "CAP_AUDIT_WRITE",
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_RAW",
  "CAP_SETFCAP",
  "CAP_SETGID",
  "CAP_SETPCAP",
  "CAP_SETUID",
  "CAP_SYS_CHROOT",
])

function allowedOf(names: readonly string[] | null | undefined): string[] {
  return [...new Set(names ?? [])].filter((name) => allowedCapabilities.has(name)).toSorted()
}

export function serviceCapabilities(
  manifest: MeasuredManifest,
  config: EngineConfig,
): Record<string, string[]> {
  const asked = config.process.capabilities ?? {}
  const bounding = allowedOf(asked.bounding)
  // An engine decides by its own idea of the user; the manifest's user is the one that counts.
  const held = manifest.user.uid === 0 ? allowedOf(asked.permitted ?? asked.bounding) : []
  const permitted = held.filter((name) => bounding.includes(name))
  return { bounding, effective: permitted, permitted, inheritable: [], ambient: [] }
}

/** The service's process, wholly from the manifest but for the limits and the terminal. */
export function serviceProcess(
  manifest: MeasuredManifest,
  config: EngineConfig,
  sealedPath: string,
): ProcessChoice {
  const asked = config.process
  const args = serviceArguments(manifest, asked.args ?? [], sealedPath)
  const { env, dropped } = serviceEnvironment(manifest, asked.env ?? [])
  const terminal = asked.terminal === true
  if (terminal) requireTerminal(manifest, "process.terminal")
  const { consoleSize, apparmorProfile, selinuxLabel, oomScoreAdj } = asked
  return {
    dropped: dropped.map((name) => `process.env: ${name}`),
    process: {
      terminal,
      ...(terminal && consoleSize ? { consoleSize } : {}),
      user: { ...userOf(manifest), umask: 0o022 },
      args,
      env,
      cwd: manifest.cwd,
      capabilities: serviceCapabilities(manifest, config),
      // A core file would carry the service's memory out.
      rlimits: [
        ...(asked.rlimits ?? []).filter(({ type }) => type !== "RLIMIT_CORE"),
        { type: "RLIMIT_CORE", hard: 0, soft: 0 },
      ],
      noNewPrivileges: asked.noNewPrivileges === true,
      ...(apparmorProfile ? { apparmorProfile } : {}),
      ...(selinuxLabel ? { selinuxLabel } : {}),
      ...(typeof oomScoreAdj === "number" ? { oomScoreAdj } : {}),
    },
  }
}

function userOf({ user }: MeasuredManifest) {
  return { uid: user.uid, gid: user.gid, additionalGids: user.groups }
}

/** A terminal is a way in for the host's keystrokes: only where the manifest lets standard input in. */
export function requireTerminal(manifest: MeasuredManifest, field: string): void {
  if (manifest.stdin === "inherit" || manifest.debug) return
  throw refuse(
    field,
    "no terminal, since the measured manifest lets no standard input in",
    "one",
    "set service.stdin: inherit in coffer.yaml, or run it without a terminal",
  )
}

/** Refuses a command that may not be exec'ed: one that the manifest does not list, in an enclave that is not for debugging. */
export function requireExec(manifest: MeasuredManifest, args: readonly string[]): void {
  const listed = manifest.exec.some(
    (command) => command.length === args.length && command.every((part, i) => part === args[i]),
  )
  if (listed || manifest.debug) return
  throw new CofferError(
    "refused",
    `exec: wanted a command that the measured manifest lists, found ${JSON.stringify(args).slice(0, 200)}`,
    {
      reason: "exec-not-listed",
      hint: "list it under service.exec in coffer.yaml (health checks), or protect the image with service.debug: true",
    },
  )
}
