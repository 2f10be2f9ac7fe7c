import { spawnSync } from "node:child_process"
import { closeSync, readFileSync } from "node:fs"
import { join } from "node:path"
import type { AnchorTarget } from "../cas/index.ts"
import type { NodeConfig } from "../node/index.ts"
import { sealedPath } from "../protect/index.ts"
import { type Enclave, startEnclave } from "./enclave.ts"
import { parseEngineConfig } from "./engine-config.ts"
import { Monitor } from "./monitor.ts"
import type { OciLog } from "./oci-log.ts"
import { defaultBase, isRunning, isVolumeInUse, type ProcessMark, removePlace } from "./place.ts"
import { remember } from "./remember.ts"
import { type MeasuredFile, openSealedIn } from "./sealed-image.ts"

/** The CAS of a machine, and what vouches for its enclaves. */
export interface Machine {
  readonly node: NodeConfig | undefined
  /** The embedded CAS, where the node's configuration names none. */
  readonly casDirectory: string
}

export const defaultCasDirectory = "/var/lib/coffer/cas"
/** NAME/SERVICE. Whoever starts the container chooses among the policies that accept its MrEnclave; each has keys of its own. */
const policyAnnotation = "io.coffer.policy"

/** What `coffer-oci create` asks of the shield that it starts. */
export interface ShieldOrder {
  readonly place: string
  readonly id: string
  /** The engine's bundle. */
  readonly bundle: string
  /** runc and its global options. */
  readonly runc: readonly string[]
  /** runc's options of `create`. */
  readonly passed: readonly string[]
  /** The service's standard descriptors, in the shield. */
  readonly stdio: readonly [number, number, number]
  /** Who called us: conmon or containerd's shim, which waits for the container and has it deleted. */
  readonly engine: ProcessMark
}

/**
 * The shield of one container: makes the enclave, lets runc create the container in it, and serves its files until the
 * container has ended. `created` is told once: undefined, or what went wrong. Resolves when nothing is left.
 */
export async function serveContainer(
  order: ShieldOrder,
  machine: Machine,
  log: OciLog,
  created: (error: unknown) => void,
): Promise<void> {
  let enclave: Enclave | undefined
  let monitor: Monitor | undefined
  const { place, runc, id } = order
  const kill = [...runc, "kill", "--all", id, "KILL"]
  try {
    enclave = await create(order, machine, log)
    const status = await enclave.exited
    if (status !== 0) {
      enclave.stop()
      created({ runcStatus: status })
    } else {
      const made = enclave
      // Without a monitor the service would outlive us: so it ends now, and we with it.
      monitor = new Monitor(kill, () => {
        log.write("error", "the monitor has died, and the container is killed")
        new Monitor(kill, () => undefined).killNow()
        made.stop()
      })
      created(undefined)
    }
    await enclave.ended
  } catch (error) {
    enclave?.stop()
    created(error)
  } finally {
    monitor?.end()
    removePlace(place)
    if (!isRunning(order.engine)) deleteOrphan(order)
  }
}

/** Nobody will ask for it: conmon has been killed, and podman then forgets the container without telling its runtime. */
function deleteOrphan({ runc: [program = "", ...words], id }: ShieldOrder): void {
  spawnSync(program, [...words, "delete", "--force", id], { stdio: "ignore" })
}

async function create(order: ShieldOrder, machine: Machine, log: OciLog): Promise<Enclave> {
  const { place, id } = order
  const config = parseEngineConfig(readFileSync(join(order.bundle, "config.json"), "utf8"))
  const root = join(order.bundle === "" ? "." : order.bundle, "rootfs")
  const file = openSealedIn(config.root.path.startsWith("/") ? config.root.path : root, sealedPath)
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
        // An engine is no person: another image gets the volumes by `coffer run --accept`, or by a policy.
        accept: false,
        node: machine.node,
        inUse: (volume) => isVolumeInUse(defaultBase, volume),
      },
      stdio: order.stdio,
      onIncident: (incident) => log.write("error", incident.message, { incident }),
    })
    for (const fd of order.stdio) closeSync(fd)
    report(enclave, file, log)
    remember(place, id, enclave, file)
    return enclave
  } finally {
    file.close()
  }
}

// Not from config.json, and not from the environment: whoever starts containers is not who trusts the CAS.
function casTarget({ node, casDirectory }: Machine): AnchorTarget {
  if (node?.cas === undefined) return { type: "embedded", dir: casDirectory }
  return { type: "https", url: node.cas.url, casKey: node.cas.key }
}

function report({ mrEnclave, bundle }: Enclave, { sealed }: MeasuredFile, log: OciLog): void {
  const { name, debug } = sealed.manifest
  log.write("info", `enclave ${name}, MrEnclave ${mrEnclave}${debug ? ", debug" : ""}`)
  for (const field of bundle.dropped) log.write("info", `dropped: ${field}`)
  for (const what of bundle.reported) log.write("info", `shared: ${what}`)
}
