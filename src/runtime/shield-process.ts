import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join, resolve } from "node:path"
import type { AnchorTarget } from "../cas/index.ts"
import { CofferError, fromSystem } from "../errors.ts"
import type { NodeConfig } from "../node/index.ts"
import { sealedPath } from "../seal/index.ts"
import { type GlobalOptions, parseCreate } from "./command-line.ts"
import type { Directories } from "./directories.ts"
import { type Enclave, startEnclave } from "./enclave.ts"
import { type EngineConfig, isSandbox, parseEngineConfig } from "./engine-config.ts"
import { Monitor } from "./monitor.ts"
import type { OciLog } from "./oci-log.ts"
import {
  collectStale,
  isRunning,
  isVolumeInUse,
  makePlace,
  markOf,
  placeOf,
  removePlace,
} from "./place.ts"
import { remember } from "./remember.ts"
import { findRunc, killCommand } from "./runc.ts"
import { type MeasuredFile, openSealedIn } from "./sealed-image.ts"

/** The CAS of a machine, and what vouches for its enclaves. */
export interface Machine {
  readonly node: NodeConfig | undefined
  /** With the embedded CAS, where the node's configuration names none. */
  readonly directories: Directories
}

/** NAME/SERVICE. Whoever starts the container chooses among the policies that accept its MrEnclave; each has keys of its own. */
const policyAnnotation = "io.coffer.policy"
/** 0 to 9999: replicas with a volume each. */
const instanceAnnotation = "io.coffer.instance"

function instanceOf(text: string | undefined): number {
  if (text === undefined || /^\d{1,4}$/.test(text)) return Number(text ?? 0)
  throw new CofferError(
    "config",
    `annotations: ${instanceAnnotation}: wanted a number from 0 to 9999, found ${text}`,
  )
}

/** `coffer-oci create`, as the engine has called it. */
export interface CreateCall {
  readonly global: GlobalOptions
  readonly rest: readonly string[]
  /** conmon or containerd's shim, which waits for the container and has it deleted. */
  readonly engine: number
  /** The engine's standard descriptors, in the shield: the service's. */
  readonly stdio: readonly [number, number, number]
}

/** A container that is to be created. */
interface Order {
  readonly place: string
  readonly id: string
  readonly root: string
  readonly config: EngineConfig
  /** runc and its global options. */
  readonly runc: readonly string[]
  /** runc's options of `create`. */
  readonly passed: readonly string[]
  readonly stdio: readonly [number, number, number]
}

/**
 * The shield of one container: makes the enclave, lets runc create the container in it, and serves its files until the
 * container has ended. `created` is told once: runc's status, or what went wrong. Resolves when nothing is left.
 */
export async function serveContainer(
  call: CreateCall,
  machine: Machine,
  log: OciLog,
  created: (outcome: number | Error) => void,
): Promise<void> {
  const engine = markOf(call.engine)
  let order: Order | undefined
  try {
    order = orderOf(call, machine.directories.base)
    if (order === undefined) created(createPlain(call))
    else await serve(order, machine, log, created)
  } catch (error) {
    created(error instanceof Error ? error : new Error(String(error)))
  }
  if (order !== undefined && !isRunning(engine)) deleteOrphan(order)
}

/** Undefined for a sandbox container, which is no service of anybody's. */
function orderOf({ global, rest, stdio }: CreateCall, base: string): Order | undefined {
  const { id, bundle, passed } = parseCreate(rest)
  const config = parseEngineConfig(readConfig(bundle))
  if (isSandbox(config)) return undefined
  const place = placeOf(base, global.root, id)
  const runc = [findRunc(), ...global.given]
  return { place, id, root: resolve(bundle, config.root.path), config, runc, passed, stdio }
}

function readConfig(bundle: string): string {
  try {
    return readFileSync(join(bundle, "config.json"), "utf8")
  } catch (error) {
    throw fromSystem(error, "config.json")
  }
}

function createPlain({ global, rest, stdio }: CreateCall): number {
  const words = [...global.given, "create", ...rest]
  return spawnSync(findRunc(), words, { stdio: [...stdio] }).status ?? 1
}

async function serve(
  order: Order,
  machine: Machine,
  log: OciLog,
  created: (outcome: number | Error) => void,
): Promise<void> {
  let enclave: Enclave | undefined
  const { place, runc, id } = order
  const kill = killCommand(runc, id)
  collectStale(machine.directories.base)
  makePlace(place)
  // Without a monitor the service would outlive us: so it ends now, and we with it.
  const monitor = new Monitor(kill, () => {
    log.write("error", "the monitor has died, and the container is killed")
    enclave?.stop()
    new Monitor(kill, () => undefined).killNow()
  })
  try {
    enclave = await create(order, machine, log)
    monitor.watch(enclave.child.pid)
    if (monitor.hasDied) enclave.stop()
    const status = await enclave.exited
    monitor.watch(undefined)
    if (status !== 0) {
      enclave.stop()
      // runc leaves a half-made container behind when it is killed.
      deleteOrphan(order)
    }
    created(status)
    await enclave.ended
  } catch (error) {
    // Nobody may be there to hear of the container: a launcher that was killed.
    enclave?.stop()
    deleteOrphan(order)
    throw error
  } finally {
    monitor.end()
    removePlace(place)
  }
}

/** For when nobody will ask for it: podman forgets a container whose conmon was killed without telling its runtime. */
function deleteOrphan({ runc: [program = "", ...words], id }: Order): void {
  spawnSync(program, [...words, "delete", "--force", id], { stdio: "ignore" })
}

async function create(order: Order, machine: Machine, log: OciLog): Promise<Enclave> {
  const { place, id, config } = order
  const file = openSealedIn(order.root, sealedPath)
  try {
    const command = [...order.runc, "create", "--bundle", place, ...order.passed, id]
    const enclave = await startEnclave({
      place,
      file,
      config,
      sealedPath,
      command,
      cas: {
        target: casTarget(machine),
        policy: config.annotations?.[policyAnnotation],
        instance: instanceOf(config.annotations?.[instanceAnnotation]),
        // An engine is no person: another image gets the volumes by `coffer run --accept`, or by a policy.
        accept: false,
        node: machine.node,
        stateDirectory: machine.directories.base,
        inUse: (volume) => isVolumeInUse(machine.directories.base, volume),
      },
      stdio: order.stdio,
      onIncident: (incident) => log.write("error", incident.message, { incident }),
    })
    report(enclave, file, log)
    remember(place, id, enclave, file)
    return enclave
  } finally {
    file.close()
  }
}

// Not from config.json, and not from the environment: whoever starts containers is not who trusts the CAS.
function casTarget({ node, directories }: Machine): AnchorTarget {
  if (node?.cas === undefined) return { type: "embedded", dir: directories.cas }
  return { type: "https", url: node.cas.url, casKey: node.cas.key }
}

function report({ mrEnclave, bundle }: Enclave, { sealed }: MeasuredFile, log: OciLog): void {
  const { name, debug } = sealed.manifest
  log.write("info", `enclave ${name}, MrEnclave ${mrEnclave}${debug ? ", debug" : ""}`)
  for (const field of bundle.dropped) log.write("info", `dropped: ${field}`)
  for (const what of bundle.reported) log.write("info", `shared: ${what}`)
}
