import { CofferError } from "../errors.ts"
import type { Owner, PlannedScratch } from "./service-mounts.ts"

/** One filesystem that the shield serves, as the child mounts it. */
export interface ScriptMount {
  readonly target: string
  /** Options of the mount but for the descriptor's number: fuseMountData, made with this number. */
  readonly data: (device: number) => string
  /** `ro,noatime` and the like. */
  readonly flags: string
}

/** An ephemeral layer over a filesystem of `mounts`. */
export interface ScriptLayer {
  readonly lower: string
  readonly merged: string
  readonly owner: Owner
}

export interface ScriptInput {
  readonly place: string
  /** The first is the binary filesystem. */
  readonly mounts: readonly ScriptMount[]
  /** The upper layer; undefined: none, the root is read-only. */
  readonly upper: { readonly size: number | undefined; readonly owner: Owner } | undefined
  /** They share the memory of `upper`, and need it. */
  readonly layers: readonly ScriptLayer[]
  readonly scratches: readonly PlannedScratch[]
  /** Where the root is mounted once more. */
  readonly measured: string | undefined
  readonly noswap: boolean
  /** We are root of a user namespace: the kernel then keeps an overlay's marks in other xattrs, and follows no renamed folder. */
  readonly nested: boolean
  /** What to become afterwards. */
  readonly command: readonly string[]
}

export const firstDevice = 3
/** The shell closes descriptors of one digit only, and one that stays open in runc would keep a dead shield's mounts hanging. */
const firstUnclosed = 10
/** So many threads, each with its caches: more would be a mistake in coffer.yaml. */
const mostMounts = 65

/** Exit status of the child when a mount failed; the words are in the folder's `mount.log`. */
export const mountFailed = 113

/**
 * The child between shield and container, in a mount namespace of its own: mounts through descriptors that it has
 * inherited, and becomes runc. When the container ends, the namespace and all mounts end with it.
 */
export function mountScript(input: ScriptInput): string {
  const { place, mounts, upper, layers, measured, command } = input
  if (mounts.length > mostMounts)
    throw new CofferError(
      "config",
      `regions: wanted at most ${mostMounts - 1} with a store of their own in one container, found ${mounts.length - 1}`,
    )
  const root = `${place}/root`
  const lower = upper === undefined ? root : `${place}/lower`
  const steps = mounts.map(({ target, data, flags }, i) => {
    const options = `${flags},${data(firstDevice + i)}`
    return ["mount", "-i", "-t", "fuse.coffer", "-o", options, "coffer", i === 0 ? lower : target]
  })
  if (upper !== undefined) {
    const layer = `${place}/upper`
    const size = upper.size === undefined ? "50%" : String(upper.size)
    const memory = `mode=700,size=${size}${input.noswap ? ",noswap" : ""}`
    const all = [{ lower, merged: root, owner: upper.owner }, ...layers]
    steps.push(
      ["mount", "-i", "-t", "tmpfs", "-o", memory, "coffer", layer],
      ...all.flatMap((one, i) => layerSteps(one, `${layer}/${i}`, input.nested)),
    )
  }
  for (const { target, options } of input.scratches)
    steps.push(["mount", "-i", "-t", "tmpfs", "-o", options.join(","), "scratch", target])
  if (measured !== undefined) steps.push(["mount", "--bind", root, measured])
  const made = steps.map(line).join(" && ")
  const end = firstDevice + mounts.length
  const closed = mounts
    .map((_, i) => firstDevice + i)
    .filter((fd) => fd < firstUnclosed)
    .map((fd) => `${fd}<&-`)
  const last = [...closing(end), ...command]
  return `{ ${made}; } 2>${quote(`${place}/mount.log`)} || exit ${mountFailed}\nexec ${line(last)} ${closed.join(" ")}\n`
}

const closeAndBecome = `
const child = process
const [end, ...argv] = child.argv.slice(1)
for (let fd = ${firstUnclosed}; fd < Number(end); fd += 1) require("node:fs").closeSync(fd)
child.execve(argv[0], argv, child.env)`

/** What closes the others, up to `end`, and becomes the command: only where there are so many. */
function closing(end: number): string[] {
  if (end <= firstUnclosed) return []
  return [process.execPath, "--no-warnings", "-e", closeAndBecome, "--", String(end)]
}

function layerSteps(
  { lower, merged, owner }: ScriptLayer,
  layer: string,
  nested: boolean,
): string[][] {
  const { uid, gid, mode } = owner
  const how = nested ? "userxattr" : "redirect_dir=on"
  const own = `${layer}/data`
  const options = `lowerdir=${lower},upperdir=${own},workdir=${layer}/work,${how}`
  return [
    // Inside the tmpfs, which is root's alone: the mode of the other two says nothing. One process in place of three.
    ["mkdir", "-m", mode.toString(8), layer, own, `${layer}/work`],
    ...(uid === 0 && gid === 0 && !nested
      ? []
      : [
          ["chown", `${uid}:${gid}`, own],
          ["chmod", mode.toString(8), own],
        ]),
    ["mount", "-i", "-t", "overlay", "-o", options, "coffer", merged],
  ]
}

function line(words: readonly string[]): string {
  return words.map(quote).join(" ")
}

function quote(word: string): string {
  return /^[\w./=,:@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
