import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  writeFileSync,
} from "node:fs"
import { constants as osConstants, release } from "node:os"
import { setImmediate } from "node:timers/promises"
import { toHex, utf8OfByteString } from "../bytes/index.ts"
import { CofferError, fromSystem } from "../errors.ts"
import type { FuseMetrics } from "../fuse/index.ts"
import { openTree } from "../seal/index.ts"
import { type Incident, openShield, type ServedMount } from "../shield/index.ts"
import { mountFlags, ownUserNamespace } from "../sys/index.ts"
import { lookup } from "../tree/index.ts"
import { type Bundle, bundleFromManifest } from "./bundle.ts"
import { openCasVolume, startVolumeThread, type VolumeSeed } from "./cas-volume.ts"
import type { CasChoice, Configured } from "./configure.ts"
import {
  type EnclaveMount,
  type EnclaveMounts,
  mountFailed,
  mountHint,
  withMounts,
} from "./enclave-mounts.ts"
import type { EngineConfig } from "./engine-config.ts"
import { type Hooks, listedHooks } from "./hooks.ts"
import { defaultHostFile, maxHostFileSize, renderHostFile, withOwnName } from "./host-files.ts"
import { ownerOutside } from "./id-mappings.ts"
import { withConfiguration } from "./injected.ts"
import { killTree } from "./kill-tree.ts"
import { openPlace } from "./place.ts"
import { needsPolicy, openRegion, type RegionHow } from "./regions.ts"
import type { MeasuredFile } from "./sealed-image.ts"
import type { Owner, TypedFile } from "./service-mounts.ts"

export interface EnclaveInput {
  /** The container's folder, made by `makePlace`. */
  readonly place: string
  readonly file: MeasuredFile
  readonly config: EngineConfig
  readonly sealedPath: string
  /** The command that makes the container from the bundle in `place`. */
  readonly command: readonly string[]
  /** Standard input, output and error of the service. */
  readonly stdio: readonly [number, number, number]
  /** Where the enclave attests to; undefined: nowhere, and volumes are refused. */
  readonly cas: CasChoice | undefined
  /** The command is a session of its own, so that signals of our terminal reach it once, through us. */
  readonly ownGroup?: boolean
  readonly onIncident: (incident: Incident) => void
  /** Where to write what of the binary filesystem was used, for `protect --trace`. */
  readonly trace?: string | undefined
}

export interface Enclave {
  readonly mrEnclave: string
  readonly bundle: Bundle
  /** What the CAS gave, if it was asked. */
  readonly configured: Configured | undefined
  /** The command. */
  readonly child: ChildProcess
  /** Exit status of the command, 128 + signal when one ended it. Rejects when it could not be started. */
  readonly exited: Promise<number>
  /** Settles when the container has let go of all mounts and everything is committed. */
  readonly ended: Promise<void>
  /** Ends the shield, whoever still uses it. */
  stop(): void
  /** What each of its filesystems has done so far, by the path in the container. */
  metrics(): Readonly<Record<string, FuseMetrics>>
}

/** tmpfs without swap came with it. */
const noswapSince = 4
/** `user.` xattrs in tmpfs came with it: where an ordinary user's overlay keeps its marks. */
const userXattrsSince = 6

/** Linux 6 and that minor number. */
function isAtLeast(wanted: number): boolean {
  const [major = 0, minor = 0] = release().split(".").map(Number)
  return major > 6 || (major === 6 && minor >= wanted)
}

// Without them a folder that is removed and made again would be EIO to the service.
function requireUserXattrs(): void {
  if (isAtLeast(userXattrsSince)) return
  throw new CofferError(
    "missing",
    `ephemeral layer: wanted Linux 6.${userXattrsSince} for an ordinary user's container, found ${release()}`,
    { hint: "run it as root, or protect the image with service.readOnly: true" },
  )
}

/** Plans the bundle, opens the shield, and starts the command in the enclave's mounts. */
export async function startEnclave(input: EnclaveInput): Promise<Enclave> {
  const { place, file } = input
  const { manifest } = file.sealed
  // A volume is ready last, and its thread takes long to start: it starts on another core.
  if (manifest.regions.some(({ kind }) => kind === "volume")) startVolumeThread()
  const ownIds = ownUserNamespace()
  const noswap = ownIds === undefined && isAtLeast(noswapSince)
  const tree = openTree(file.source, manifest)
  const ownerOf = (path: string): Owner => {
    const node = lookup(tree, utf8OfByteString(path))
    return node?.meta ?? { uid: 0, gid: 0, mode: 0o755 }
  }
  const hooks = listedHooks(input.config, input.cas?.node?.hooks ?? [])
  const bundle = bundleFromManifest({
    manifest,
    config: hooks === undefined ? input.config : { ...input.config, hooks: undefined },
    place,
    sealedPath: input.sealedPath,
    ownerOf,
    noswap,
    cgroup: existsSync("/sys/fs/cgroup"),
    ownIds,
  })
  if (ownIds !== undefined && !bundle.readOnly) requireUserXattrs()
  if (bundle.ids !== undefined) openPlace(place)
  const asked = configure(input, bundle)
  try {
    return await openEnclave(input, { bundle, hooks, ownerOf, noswap, ownIds }, asked)
  } finally {
    // Last: the closing of a database waits for its disk, and by now nobody waits for us.
    asked.then((configured) => configured?.close()).catch(() => undefined)
  }
}

interface Plan {
  readonly bundle: Bundle
  readonly hooks: Hooks | undefined
  readonly ownerOf: (path: string) => Owner
  readonly noswap: boolean
  readonly ownIds: ReturnType<typeof ownUserNamespace>
}

async function openEnclave(
  input: EnclaveInput,
  { bundle, hooks, ownerOf, noswap, ownIds }: Plan,
  asked: Promise<Configured | undefined>,
): Promise<Enclave> {
  const { place, file } = input
  const owned = (path: string) => ownerOutside(ownerOf(path), bundle.ids ?? ownIds, path)
  const opened = await openAll(input, bundle, asked, ownerOf)
  try {
    const configured = await asked
    configured?.remember()
    const own = hooks === undefined ? bundle.config : { ...bundle.config, hooks }
    const config = withConfiguration(own, configured?.answer, { place, ids: bundle.ids ?? ownIds })
    writeBundle(place, { ...bundle, config })
    const mounts: EnclaveMounts = {
      place,
      mounts: opened,
      upper: bundle.readOnly ? undefined : { size: bundle.upperSize, owner: owned("/") },
      layers: bundle.regions.flatMap(({ region, lower, merged }) =>
        merged === undefined ? [] : [{ lower, merged, owner: owned(region.path) }],
      ),
      scratches: bundle.scratches,
      nested: ownIds !== undefined,
      measured: bundle.measured,
      noswap,
    }
    const mrEnclave = toHex(file.sealed.mrEnclave)
    return started(input, { bundle, configured, mounts, mrEnclave })
  } catch (error) {
    for (const { served } of opened) served.stop()
    await Promise.allSettled(opened.map(({ served }) => served.abandon()))
    throw error
  }
}

async function configure(
  { file, cas }: EnclaveInput,
  bundle: Bundle,
): Promise<Configured | undefined> {
  const asks = bundle.volumes.length > 0 || bundle.regions.some(({ region }) => needsPolicy(region))
  if (cas === undefined) {
    if (!asks) return undefined
    throw new CofferError(
      "missing",
      "volumes and regions: wanted a CAS that has their keys, found none",
    )
  }
  if (cas.policy === undefined && !asks) return undefined
  // The threads first: they start on another core while this one evaluates what follows.
  await Promise.resolve()
  // The CAS and attestation are half of this program's start: a container without volumes does not wait for them.
  const { configureEnclave } = await import("./configure.ts")
  return configureEnclave(file, cas)
}

const readOnly = mountFlags.readOnly | mountFlags.noAtime
const noPower = mountFlags.noSuid | mountFlags.noDev

/** The shield's filesystems, all open or none. The binary filesystem is the first, and does not wait for the CAS. */
async function openAll(
  { file, onIncident, trace }: EnclaveInput,
  { volumes, regions, scratches, ids }: Bundle,
  asked: Promise<Configured | undefined>,
  ownerOf: (path: string) => Owner,
): Promise<EnclaveMount[]> {
  for (const { target } of scratches) mkdirSync(target)
  const binfs = openBinfs(file, trace, { ids, onIncident }).then((served) => ({
    served,
    target: "",
    flags: readOnly,
  }))
  const stored = regions.map(async ({ region, lower, merged }) => {
    const served = await openRegion(region, file, await asked, { ids, onIncident })
    for (const path of [lower, merged]) if (path !== undefined) mkdirSync(path)
    return { served, target: lower, flags: readOnly | noPower }
  })
  const others = volumes.map(async (volume) => {
    const { region, target } = volume
    const seed = region.seed ? seedOf(file, region.path) : undefined
    const how = { root: ownerOf(region.path), seed, ids, onIncident }
    const served = await openCasVolume(volume, asked, how)
    mkdirSync(target)
    const access = served.readOnly ? readOnly : mountFlags.noAtime
    const flags = access | noPower | (region.exec ? 0 : mountFlags.noExec)
    return { served, target, flags }
  })
  const results = await Promise.allSettled([binfs, ...stored, ...others])
  const opened = results.flatMap((result) => (result.status === "fulfilled" ? result.value : []))
  const [answer] = await Promise.allSettled([asked])
  const failed = [answer, ...results].find((result) => result.status === "rejected")
  if (failed === undefined) return opened
  await Promise.allSettled(opened.map(({ served }) => served.abandon()))
  throw failed.reason
}

function seedOf({ sealed, source }: MeasuredFile, at: string): VolumeSeed {
  return { path: `/proc/self/fd/${source.fd}`, manifest: sealed.manifest, at }
}

function openBinfs(
  { sealed, source }: MeasuredFile,
  trace: EnclaveInput["trace"],
  { ids, onIncident }: RegionHow,
): Promise<ServedMount> {
  const { binfs, verity } = sealed.manifest
  return openShield(
    {
      kind: "binfs",
      // The file that was measured, whatever stands at its path by now.
      path: `/proc/self/fd/${source.fd}`,
      dataOffset: binfs.offset,
      dataSize: binfs.size,
      hashOffset: verity.offset,
      rootHash: Uint8Array.fromHex(verity.rootHash),
      ...(trace === undefined ? {} : { trace }),
    },
    onIncident,
    ids,
  )
}

interface Prepared {
  readonly bundle: Bundle
  readonly configured: Configured | undefined
  readonly mounts: EnclaveMounts
  readonly mrEnclave: string
}

function started(input: EnclaveInput, prepared: Prepared): Enclave {
  const { mounts, bundle, configured, mrEnclave } = prepared
  const served = mounts.mounts.map((mount) => mount.served)
  const { manifest } = input.file.sealed
  const [stdin, stdout, stderr] = input.stdio
  // Nothing of the host's comes in by standard input, unless the manifest lets it in.
  const open = manifest.stdin === "inherit" || manifest.debug
  const child = withMounts(mounts, input.command, ([program = "", ...words]) =>
    spawn(program, words, {
      stdio: [open ? stdin : "ignore", stdout, stderr],
      detached: input.ownGroup === true,
    }),
  )
  const stop = () => {
    for (const mount of served) mount.stop()
    // Half a container is nobody's.
    if (child.exitCode === null && child.signalCode === null && child.pid !== undefined)
      killTree(child.pid)
  }
  const ended = Promise.all(served.map((mount) => mount.ended)).then(() => undefined)
  ended.catch(() => undefined)
  return {
    mrEnclave,
    bundle,
    configured,
    child,
    exited: exitOf(child, input.place, { stop, ended }),
    ended,
    stop,
    metrics: () =>
      Object.fromEntries(served.map((mount, i) => [pathOf(bundle, i), mount.metrics()])),
  }
}

/** The order is that of `openAll`. */
function pathOf({ regions, volumes }: Bundle, i: number): string {
  const others = [...regions, ...volumes].map(({ region }) => region.path)
  return i === 0 ? "/" : (others[i - 1] ?? "")
}

const signalBase = 128

async function exitOf(
  child: ChildProcess,
  place: string,
  { stop, ended }: Pick<Enclave, "stop" | "ended">,
): Promise<number> {
  let status: number | null
  let signal: string | null
  try {
    ;[status, signal] = (await once(child, "exit")) as [number | null, string | null]
  } catch (error) {
    stop()
    throw fromSystem(error, child.spawnfile, "install runc")
  }
  const words = status === mountFailed ? readLog(`${place}/mount.log`) : ""
  if (words !== "") {
    stop()
    // A thread that has died says more than the mount that it has not served.
    await Promise.race([ended, setImmediate()])
    throw new CofferError("missing", `wanted the enclave's mounts, found: ${words}`, {
      hint: mountHint,
    })
  }
  return status ?? signalBase + signalNumber(signal ?? "")
}

function readLog(path: string): string {
  return existsSync(path) ? readFileSync(path, "utf8").trim().slice(0, 500) : ""
}

function signalNumber(name: string): number {
  return Object.entries(osConstants.signals).find(([known]) => known === name)?.[1] ?? 0
}

function writeBundle(place: string, bundle: Bundle): void {
  for (const file of bundle.typedFiles)
    writeFileSync(file.copy, hostFile(file, bundle.config.hostname))
  writeFileSync(`${place}/config.json`, JSON.stringify(bundle.config), { mode: 0o600 })
}

/** `hostname`: the container's own; undefined where it has joined a pod's, whose files say it. */
function hostFile({ format, source }: TypedFile, hostname: string | undefined): string {
  if (source === undefined) return defaultHostFile(format, hostname ?? "coffer")
  const text = renderHostFile(format, readBounded(source))
  return format === "hosts" ? withOwnName(text, hostname ?? "") : text
}

/** The path comes from the adversary: a pipe must not stop us, a large file not fill our memory. */
function readBounded(path: string): string {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    throw fromSystem(error, path)
  }
  try {
    const bytes = Buffer.alloc(maxHostFileSize + 1)
    const size = fstatSync(fd).isFile() ? readSync(fd, bytes, 0, bytes.length, 0) : -1
    if (size >= 0 && size <= maxHostFileSize) return bytes.toString("utf8", 0, size)
    throw new CofferError(
      "config",
      `${path}: wanted a file of at most ${maxHostFileSize} bytes, found ${size < 0 ? "none" : "more"}`,
    )
  } finally {
    closeSync(fd)
  }
}
