import { createHash } from "node:crypto"
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { basename, join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { CofferError, fromSystem, isErrno } from "../errors.ts"
import type { FuseMetrics } from "../fuse/index.ts"

/** One process, and no other that gets its number later. */
export interface ProcessMark {
  readonly pid: number
  /** Clock ticks since boot. */
  readonly startTime: string
}

/** What others must know of a container's shield, in `state.json` of its folder. */
export interface ShieldState extends ProcessMark {
  readonly id: string
  readonly mrEnclave: string
  readonly name: string
  /** The measured manifest, as in the sealed binary. */
  readonly manifest: string
  /** The volumes that it writes, as POLICY/VOLUME. */
  readonly volumes: readonly string[]
}

/** The folder of one container. Engines have a root each, and the same id may stand in two of them. */
export function placeOf(base: string, root: string, id: string): string {
  if (!/^[\w+.-]{1,1024}$/.test(id) || id === "." || id === "..")
    throw new CofferError("usage", `container id: wanted letters, digits, '_+.-', found '${id}'`)
  return join(base, createHash("sha256").update(root).digest("hex").slice(0, 16), id)
}

/** Makes the folder; one that a dead shield left behind is taken away first. */
export function makePlace(place: string): void {
  if (existsSync(place) && !isServed(place)) rmSync(place, { recursive: true, force: true })
  try {
    mkdirSync(join(place, ".."), { recursive: true, mode: 0o700 })
    mkdirSync(place, { mode: 0o700 })
  } catch (error) {
    if (isErrno(error, "EEXIST"))
      throw new CofferError("usage", `${place}: wanted a new container, found one of that id`)
    throw fromSystem(error, place, "coffer-oci runs as root, or in a user namespace of yours")
  }
  for (const name of ["root", "lower", "upper", "host", "volume", "region", "measured"])
    mkdirSync(join(place, name))
}

/**
 * Root of a container's user namespace must find the container's root here, and may not be able to read the way to it:
 * the secrets in the folder have modes of their own.
 */
export function openPlace(place: string): void {
  for (const folder of [join(place, "..", ".."), join(place, ".."), place]) chmodSync(folder, 0o711)
}

export function removePlace(place: string): void {
  rmSync(place, { recursive: true, force: true })
}

export function writeState(place: string, state: ShieldState): void {
  // For `coffer-oci delete`, which is a shell script.
  writeFileSync(join(place, "pid"), `${state.pid}\n`)
  writeFileSync(join(place, "state.json"), JSON.stringify(state), { mode: 0o600 })
}

/** For `coffer ps`. A folder that is gone already is no fault. */
export function writeMetrics(place: string, metrics: EnclaveStatus["filesystems"]): void {
  try {
    writeFileSync(join(place, "metrics.new"), JSON.stringify(metrics), { mode: 0o600 })
    renameSync(join(place, "metrics.new"), join(place, "metrics.json"))
  } catch {
    // the container has ended
  }
}

function readMetrics(place: string): EnclaveStatus["filesystems"] {
  try {
    return JSON.parse(readFileSync(join(place, "metrics.json"), "utf8")) as never
  } catch {
    return {}
  }
}

export function readState(place: string): ShieldState | undefined {
  try {
    return JSON.parse(readFileSync(join(place, "state.json"), "utf8")) as ShieldState
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR") || error instanceof SyntaxError) return undefined
    throw fromSystem(error, place)
  }
}

/** Undefined when there is no such process. */
function startTimeOf(pid: number): string | undefined {
  const fields = statOf(pid)
  // A zombie only waits to be fetched.
  return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19]
}

/** Fields of /proc/PID/stat from the third on; none when there is no such process. */
function statOf(pid: number): string[] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1")
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  } catch {
    return []
  }
}

export function markOf(pid: number): ProcessMark {
  return { pid, startTime: startTimeOf(pid) ?? "" }
}

export function isRunning({ pid, startTime }: ProcessMark): boolean {
  return startTimeOf(pid) === startTime
}

/** Does the shield of this folder live? */
export function isServed(place: string): boolean {
  const state = readState(place)
  return state !== undefined && isRunning(state)
}

/** The folders of all containers, of all engines. */
function allPlaces(base: string): string[] {
  // Beside them is runc's own folder for `coffer run`, which has other files of the same names.
  return foldersIn(base)
    .filter((root) => /^[0-9a-f]{16}$/.test(basename(root)))
    .flatMap((root) => foldersIn(root))
}

function foldersIn(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => join(path, name))
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return []
    throw fromSystem(error, path)
  }
}

/** One enclave that runs. */
export interface EnclaveStatus extends Omit<ShieldState, "manifest"> {
  /** Of its shield. */
  readonly residentBytes: number
  readonly cpuSeconds: number
  /** By the path in the container; some seconds old. */
  readonly filesystems: Readonly<Record<string, FuseMetrics>>
}

/** What runs on this machine, by all engines of whoever has this base. */
export function listEnclaves(base: string): EnclaveStatus[] {
  return allPlaces(base).flatMap((place) => {
    const state = readState(place)
    if (state === undefined || !isServed(place)) return []
    const { manifest: _, ...shown } = state
    return [{ ...shown, ...usageOf(state.pid), filesystems: readMetrics(place) }]
  })
}

/** Linux counts in these for user space, whatever the kernel's own clock. */
const ticksPerSecond = 100
const pageSize = 4096

function usageOf(pid: number): Pick<EnclaveStatus, "residentBytes" | "cpuSeconds"> {
  const fields = statOf(pid)
  const number = (i: number) => Number(fields[i] ?? 0)
  return {
    cpuSeconds: (number(11) + number(12)) / ticksPerSecond,
    residentBytes: number(21) * pageSize,
  }
}

/** Removes what shields left behind that were killed and whose engine never called `delete`. */
export function collectStale(base: string): void {
  for (const place of allPlaces(base))
    if (readState(place) !== undefined && !isServed(place)) removePlace(place)
}

/** Does a container that lives write this volume? */
export function isVolumeInUse(base: string, volume: string): boolean {
  return allPlaces(base).some(
    (place) => readState(place)?.volumes.includes(volume) === true && isServed(place),
  )
}

/** Waits for the end of a container's shield, which removes the folder; then, or when it died, nothing of it is left. */
export async function placeGone(place: string, patienceMs: number): Promise<void> {
  const end = Date.now() + patienceMs
  while (existsSync(place) && isServed(place) && Date.now() < end) await sleep(5)
  if (!isServed(place)) removePlace(place)
}
