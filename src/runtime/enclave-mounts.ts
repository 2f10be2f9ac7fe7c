import { chmodSync, chownSync, mkdirSync } from "node:fs"
import { CofferError } from "../errors.ts"
import { fuseMountData, type ServedMount, tuneWriteback } from "../shield/index.ts"
import { deviceOfMount, inMountNamespace, mount } from "../sys/index.ts"
import type { Owner, PlannedScratch } from "./service-mounts.ts"
import { systemTool } from "./system-tool.ts"

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

/** Exit status of what `start` has started when a mount failed; the words are in the folder's `mount.log`. */
export const mountFailed = 113

export const mountHint =
  "run it as root, or in namespaces of its own (unshare -Urm), on a kernel with fuse and overlay"

/** What a mount needs to know: type, options, source, target. */
type MountWords = readonly [string, string, string, string]

// $0: mount(8), $1: the folder's log. Then four words for each mount, and after -- the command to become.
const mountAndBecome = `log=$1; shift
while [ "$1" != -- ]; do
  "$0" -i -t "$1" -o "$2" "$3" "$4" 2>"$log" || exit ${mountFailed}
  shift 4
done
shift; exec "$@"`

/**
 * Calls `start` with the words of a program that becomes `command`, where the enclave's files are mounted: what it starts has them, and
 * when the last process of the container ends, the namespace and all mounts end with it. The shield's threads serve from here on.
 */
export function withMounts<T>(
  input: EnclaveMounts,
  command: readonly string[],
  start: (words: readonly string[]) => T,
): T {
  const count = input.mounts.length
  if (count > mostMounts)
    throw new CofferError(
      "config",
      `regions: wanted at most ${mostMounts - 1} with a store of their own in one container, found ${count - 1}`,
    )
  try {
    return inMountNamespace(() => {
      const last = mountAll(input)
      if (last.length === 0) return start(command)
      const words = [
        "/bin/sh",
        "-c",
        mountAndBecome,
        systemTool("mount"),
        `${input.place}/mount.log`,
      ]
      return start([...words, ...last.flat(), "--", ...command])
    })
  } catch (error) {
    if (!(error instanceof Error && "syscall" in error)) throw error
    throw new CofferError("missing", `wanted the enclave's mounts, found: ${error.message}`, {
      cause: error,
      hint: mountHint,
    })
  }
}

/**
 * Makes the mounts that the kernel makes without a question to the shield's threads, and says which are left. Those are a child's,
 * which has no descriptor of /dev/fuse: if we waited for a thread of ours and were killed, then neither we nor the mount would end.
 */
function mountAll(input: EnclaveMounts): MountWords[] {
  const { place, mounts, upper, layers, scratches, measured, noswap, nested } = input
  const root = `${place}/root`
  const lower = upper === undefined ? root : `${place}/lower`
  for (const [i, { target, served, flags }] of mounts.entries()) {
    const at = i === 0 ? lower : target
    mountOne("fuse.coffer", "coffer", at, flags, fuseMountData(served.device, 0, 0))
    const device = served.readOnly ? undefined : deviceOfMount(at)
    // A fault also reaches `ended`.
    served.begin().then(
      () => device !== undefined && tuneWriteback(device),
      () => undefined,
    )
  }
  for (const { target, flags, options } of scratches)
    mountOne("tmpfs", "scratch", target, flags, options.join(","))
  const last: MountWords[] = []
  if (upper !== undefined) {
    const layer = `${place}/upper`
    const size = upper.size === undefined ? "50%" : String(upper.size)
    mountOne("tmpfs", "coffer", layer, 0, `mode=700,size=${size}${noswap ? ",noswap" : ""}`)
    const all = [{ lower, merged: root, owner: upper.owner }, ...layers]
    for (const [i, one] of all.entries()) last.push(layerMount(one, `${layer}/${i}`, nested))
  }
  if (measured !== undefined) last.push(["none", "bind", root, measured])
  return last
}

function layerMount(
  { lower, merged, owner }: EnclaveLayer,
  layer: string,
  nested: boolean,
): MountWords {
  const { uid, gid, mode } = owner
  const own = `${layer}/data`
  for (const folder of [layer, own, `${layer}/work`]) mkdirSync(folder)
  chownSync(own, uid, gid)
  chmodSync(own, mode)
  const how = nested ? "userxattr" : "redirect_dir=on"
  const options = `lowerdir=${lower},upperdir=${own},workdir=${layer}/work,${how}`
  return ["overlay", options, "coffer", merged]
}

function mountOne(type: string, source: string, target: string, flags: number, data: string): void {
  mount(Buffer.from(source), Buffer.from(target), type, flags, data)
}
