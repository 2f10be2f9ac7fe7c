import { displayName } from "../bytes/index.ts"
import type { MeasuredManifest, Region } from "../manifest/index.ts"
import { type DirectoryNode, type TreeNode, walk } from "../tree/index.ts"

export type FileClass = "none" | "encrypted" | "authenticated" | "measured"

export interface InventoryEntry {
  readonly path: string
  readonly class: FileClass
  readonly kind: TreeNode["kind"]
  /** Octal, four digits. */
  readonly mode: string
  readonly uid: number
  readonly gid: number
  /** Bytes, of a file. */
  readonly size?: number
  /** Of a hard link: the path at which the same file came first. */
  readonly linkOf?: string
}

export interface ClassCoverage {
  readonly class: FileClass
  /** Regular files, a hard link once. */
  readonly fileCount: number
  /** Bytes of those files. */
  readonly size: number
}

/** What is not protected comes first, then what the measurement does not hold. */
export const fileClasses: readonly FileClass[] = ["none", "encrypted", "authenticated", "measured"]

/** Every path in the binary filesystem with what protects it when the service runs; a region covers what is below it. */
export function inventory(root: DirectoryNode, manifest: MeasuredManifest): InventoryEntry[] {
  const found: InventoryEntry[] = []
  const first = new Map<TreeNode, string>()
  for (const { path, node } of walk(root)) {
    const shown = displayName(path)
    const { mode, uid, gid } = node.meta
    const linkOf = node.kind === "directory" ? undefined : first.get(node)
    if (linkOf === undefined) first.set(node, shown)
    found.push({
      path: shown,
      class: classOf(shown, manifest.regions),
      kind: node.kind,
      mode: mode.toString(8).padStart(4, "0"),
      uid,
      gid,
      ...(node.kind === "file" ? { size: node.content.size } : {}),
      ...(linkOf === undefined ? {} : { linkOf }),
    })
  }
  return found.toSorted((a, b) => fileClasses.indexOf(a.class) - fileClasses.indexOf(b.class))
}

/** Bytes and files of each class, what is not protected first; classes without a file too. */
export function coverage(files: readonly InventoryEntry[]): ClassCoverage[] {
  return fileClasses.map((name) => {
    const mine = files.filter(
      (file) => file.class === name && file.kind === "file" && file.linkOf === undefined,
    )
    return {
      class: name,
      fileCount: mine.length,
      size: mine.reduce((sum, file) => sum + (file.size ?? 0), 0),
    }
  })
}

/** The longest region that holds the path says. */
function classOf(path: string, regions: readonly Region[]): FileClass {
  let best: Region | undefined
  for (const region of regions) {
    const holds = path === region.path || path.startsWith(`${region.path}/`)
    if (holds && region.path.length >= (best?.path.length ?? 0)) best = region
  }
  return best === undefined ? "measured" : protectionOf(best)
}

export function protectionOf(region: Region): FileClass {
  switch (region.kind) {
    case "measured":
      return "measured"
    case "host":
      return "none"
    case "scratch":
      return "encrypted"
    case "image":
    case "volume":
      return region.protection
  }
}
