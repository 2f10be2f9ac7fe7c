import { spawnSync } from "node:child_process"
import { randomBytes } from "node:crypto"
import { existsSync, readFileSync } from "node:fs"
import { toHex } from "../bytes/index.ts"
import { CofferError } from "../errors.ts"
import type { MeasuredManifest } from "../manifest/index.ts"
import { sealedPath } from "../seal/index.ts"
import type { Incident } from "../shield/index.ts"
import type { CasChoice } from "./configure.ts"
import { isOrdinaryUser } from "./directories.ts"
import { type Enclave, startEnclave } from "./enclave.ts"
import type { EngineConfig, EngineMount } from "./engine-config.ts"
import { Monitor } from "./monitor.ts"
import { collectStale, isVolumeInUse, makePlace, placeOf, removePlace } from "./place.ts"
import { remember } from "./remember.ts"
import { findRunc, killCommand } from "./runc.ts"
import type { MeasuredFile } from "./sealed-image.ts"

export interface RunOptions {
  readonly file: MeasuredFile
  /** What the host appends to the service's arguments. */
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
  /** Directories by the name of their volume. */
  readonly volumes: ReadonlyMap<string, string>
  readonly cas: Omit<CasChoice, "inUse" | "stateDirectory">
  /** Where the folders of containers are. */
  readonly base: string
  /** Standard input and output are a terminal. */
  readonly terminal: boolean
  readonly onIncident: (incident: Incident) => void
  /** Descriptor of the service's standard output; default 1. */
  readonly stdout?: number
  /** Where to write what of the binary filesystem was used, for `protect --trace`. */
  readonly trace?: string
  /** Called once, when the service is about to start. */
  readonly onStart: (running: Running) => void
}

export interface Running {
  readonly mrEnclave: string
  readonly reported: readonly string[]
  /** Of the CAS's answer; undefined when it was not asked. */
  readonly platformType: string | undefined
  signal(name: NodeJS.Signals): void
}

/** Runs the service of a sealed binary with no container engine; its exit status. The same code makes the enclave as for engines. */
export async function runAlone(options: RunOptions): Promise<number> {
  if (process.getuid?.() !== 0)
    throw new CofferError("missing", "wanted root, or root of a user namespace, found neither", {
      hint: "run it with sudo",
    })
  const { base } = options
  const { manifest } = options.file.sealed
  // runc's own folder.
  const root = `${base}/alone`
  const id = `${manifest.name}-${toHex(randomBytes(4))}`
  const place = placeOf(base, root, id)
  const runc = [findRunc(), "--root", root, "--log", `${place}/runc.log`, "--log-format", "json"]
  const config = ownConfig(manifest, options, id)
  collectStale(base)
  makePlace(place)
  let enclave: Enclave | undefined
  const monitor = new Monitor(killCommand(runc.slice(0, 3), id), () => enclave?.stop())
  try {
    enclave = await startEnclave({
      place,
      file: options.file,
      config,
      sealedPath,
      command: [...runc, "run", "--bundle", place, id],
      stdio: [0, options.stdout ?? 1, 2],
      cas: {
        ...options.cas,
        stateDirectory: base,
        inUse: (volume) => isVolumeInUse(base, volume),
      },
      ownGroup: !options.terminal,
      onIncident: options.onIncident,
      trace: options.trace,
    })
    const { child, mrEnclave, bundle } = enclave
    monitor.watch(child.pid)
    remember(place, id, enclave, options.file)
    options.onStart({
      mrEnclave,
      reported: bundle.reported,
      platformType: enclave.configured?.answer.platformType,
      signal: (name) => child.kill(name),
    })
    const status = await enclave.exited
    // Who kills runc leaves its container running: it would hold the shield for ever.
    if (status > signalBase) endContainer(runc.slice(0, 3), id)
    if (status !== 0) requireStarted(place)
    await enclave.ended
    return status
  } catch (error) {
    enclave?.stop()
    await enclave?.ended
    throw error
  } finally {
    monitor.end()
    removePlace(place)
  }
}

const signalBase = 128

function endContainer([program = "", ...words]: readonly string[], id: string): void {
  spawnSync(program, [...words, "delete", "--force", id], { stdio: "ignore" })
}

/** A service that ends with 1 and a runc that cannot start it look the same but for the log. */
function requireStarted(place: string): void {
  const path = `${place}/runc.log`
  if (!existsSync(path)) return
  for (const text of readFileSync(path, "utf8").split("\n")) {
    if (!text.includes('"level":"error"')) continue
    const { msg } = JSON.parse(text) as { msg: string }
    throw new CofferError("missing", `wanted runc to start the service, found: ${msg}`)
  }
}

const capabilities = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_NET_BIND_SERVICE",
  "CAP_SETFCAP",
  "CAP_SETGID",
  "CAP_SETPCAP",
  "CAP_SETUID",
  "CAP_SYS_CHROOT",
]

/** The config.json of an engine that we are ourselves: it goes the same way as everybody's. */
function ownConfig(manifest: MeasuredManifest, options: RunOptions, id: string): EngineConfig {
  const allowed = Object.keys(manifest.env.allow).flatMap((name) => {
    const value = options.env[name]
    return value === undefined ? [] : [`${name}=${value}`]
  })
  return {
    process: {
      terminal: options.terminal && manifest.stdin === "inherit",
      args: [sealedPath, ...options.args],
      env: allowed,
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
    },
    root: { path: "rootfs" },
    hostname: id.slice(0, 63),
    mounts: ownMounts(manifest, options.volumes),
    linux: {
      // No network of its own: there is no engine that would connect it to anything.
      namespaces: ["pid", "mount", "ipc", "uts"].map((type) => ({ type })),
      maskedPaths: ["/proc/kcore"],
      // An ordinary user owns no control group that we could know of.
      ...(isOrdinaryUser() ? {} : { cgroupsPath: `/coffer/${id}` }),
    },
  }
}

function ownMounts(
  manifest: MeasuredManifest,
  volumes: ReadonlyMap<string, string>,
): EngineMount[] {
  const known = new Set<string>()
  const mounts = manifest.regions.flatMap((region): EngineMount[] => {
    const bind = { destination: region.path, type: "bind", options: ["bind"] }
    if (region.kind === "host")
      return existsSync(region.path) ? [{ ...bind, source: region.path }] : []
    if (region.kind !== "volume") return []
    known.add(region.volume)
    const source = volumes.get(region.volume)
    return source === undefined ? [] : [{ ...bind, source }]
  })
  const stray = [...volumes.keys()].find((name) => !known.has(name))
  if (stray === undefined) return mounts
  throw new CofferError(
    "usage",
    `--volume ${stray}: wanted a volume of the measured manifest (${[...known].join(", ") || "it has none"}), found another name`,
  )
}
