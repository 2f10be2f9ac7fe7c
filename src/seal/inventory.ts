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
}

/** What is not protected comes first, then what the measurement does not hold. */
const order: readonly FileClass[] = ["none", "encrypted", "authenticated", "measured"]

/** Every path in the binary filesystem with what protects it when the service runs; a region covers what is below it. */
export function inventory(root: DirectoryNode, manifest: MeasuredManifest): InventoryEntry[] {
  const found: InventoryEntry[] = []
  for (const { path, node } of walk(root)) {
    const shown = displayName(path)
    const { mode, uid, gid } = node.meta
    found.push({
      path: shown,
      class: classOf(shown, manifest.regions),
      kind: node.kind,
      mode: mode.toString(8).padStart(4, "0"),
      uid,
      gid,
      ...(node.kind === "file" ? { size: node.content.size } : {}),
    })
  }
  return found.toSorted((a, b) => order.indexOf(a.class) - order.indexOf(b.class))
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
