import { chmodSync, chownSync, mkdirSync } from "node:fs"
import { CofferError } from "../errors.ts"
import { fuseMountData, type ServedMount, tuneWriteback } from "../shield/index.ts"
import { inMountNamespace, mount, mountFlags } from "../sys/index.ts"
import type { Owner, PlannedScratch } from "./service-mounts.ts"

/** One filesystem that the shield serves. */
export interface EnclaveMount {
  readonly target: string
  readonly served: ServedMount
  /** `mountFlags`. */
  readonly flags: number
}

/** An ephemeral layer over a filesystem of `mounts`. */
export interface EnclaveLayer {
  readonly lower: string
  readonly merged: string
  readonly owner: Owner
}

export interface EnclaveMounts {
  /** The container's folder. */
  readonly place: string
  /** The first is the binary filesystem, whose target is ours to choose. */
  readonly mounts: readonly EnclaveMount[]
  /** The upper layer; undefined: none, the root is read-only. */
  readonly upper: { readonly size: number | undefined; readonly owner: Owner } | undefined
  /** They share the memory of `upper`, and need it. */
  readonly layers: readonly EnclaveLayer[]
  readonly scratches: readonly PlannedScratch[]
  /** Where the root is mounted once more. */
  readonly measured: string | undefined
  readonly noswap: boolean
  /** We are root of a user namespace: the kernel then keeps an overlay's marks in other xattrs, and follows no renamed folder. */
  readonly nested: boolean
}

/** So many threads, each with its caches: more would be a mistake in coffer.yaml. */
const mostMounts = 65

/**
 * Does `work` where the enclave's files are mounted: what it starts has them, and when the last process of the container ends, the
 * namespace and all mounts end with it. The shield's threads serve from here on.
 */
export function withMounts<T>(input: EnclaveMounts, work: () => T): T {
  const count = input.mounts.length
  if (count > mostMounts)
    throw new CofferError(
      "config",
      `regions: wanted at most ${mostMounts - 1} with a store of their own in one container, found ${count - 1}`,
    )
  try {
    return inMountNamespace(() => {
      mountAll(input)
      return work()
    })
  } catch (error) {
    if (!(error instanceof Error && "syscall" in error)) throw error
    throw new CofferError("missing", `wanted the enclave's mounts, found: ${error.message}`, {
      cause: error,
      hint: "run it as root, or in namespaces of its own (unshare -Urm), on a kernel with fuse and overlay",
    })
  }
}

function mountAll({ place, mounts, upper, layers, scratches, measured, ...how }: EnclaveMounts) {
  const root = `${place}/root`
  const lower = upper === undefined ? root : `${place}/lower`
  for (const [i, { target, served, flags }] of mounts.entries()) {
    const data = fuseMountData(served.device, 0, 0)
    mountOne("fuse.coffer", "coffer", i === 0 ? lower : target, flags, data)
    // This thread waits for what it asks of the mount, so it hears of the beginning only later; a fault also reaches `ended`.
    served.begin().catch(() => undefined)
    if (!served.readOnly) tuneWriteback(target)
  }
  if (upper !== undefined) {
    const layer = `${place}/upper`
    const size = upper.size === undefined ? "50%" : String(upper.size)
    mountOne("tmpfs", "coffer", layer, 0, `mode=700,size=${size}${how.noswap ? ",noswap" : ""}`)
    const all = [{ lower, merged: root, owner: upper.owner }, ...layers]
    for (const [i, one] of all.entries()) mountLayer(one, `${layer}/${i}`, how.nested)
  }
  for (const { target, flags, options } of scratches)
    mountOne("tmpfs", "scratch", target, flags, options.join(","))
  if (measured !== undefined) mountOne("none", root, measured, mountFlags.bind, "")
}

function mountLayer({ lower, merged, owner }: EnclaveLayer, layer: string, nested: boolean): void {
  const { uid, gid, mode } = owner
  const own = `${layer}/data`
  for (const folder of [layer, own, `${layer}/work`]) mkdirSync(folder)
  chownSync(own, uid, gid)
  chmodSync(own, mode)
  const how = nested ? "userxattr" : "redirect_dir=on"
  const options = `lowerdir=${lower},upperdir=${own},workdir=${layer}/work,${how}`
  mountOne("overlay", "coffer", merged, 0, options)
}

function mountOne(type: string, source: string, target: string, flags: number, data: string): void {
  mount(Buffer.from(source), Buffer.from(target), type, flags, data)
}
