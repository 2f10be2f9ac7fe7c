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
  /** Bytes of the store that holds what is below, when that cannot be read here. */
  readonly stored?: number
  /** Of a hard link: the path at which the same file came first. */
  readonly linkOf?: string
}

export interface ClassCoverage {
  readonly class: FileClass
  /** Regular files, a hard link once. */
  readonly fileCount: number
  /** Bytes of those files, and of stores whose files cannot be counted here. */
  readonly size: number
}

/** What is known of the store of a region with content of the image. */
export interface StoreContent {
  /** Bytes of the store. */
  readonly size: number
  /** The region's files, for whoever has the key. */
  readonly content?: DirectoryNode
}

/** What is not protected comes first, then what the measurement does not hold. */
export const fileClasses: readonly FileClass[] = ["none", "encrypted", "authenticated", "measured"]

/**
 * Every path in the binary filesystem, and of those in `stores` (by the region's path), with what protects it when the
 * service runs; a region covers what is below it.
 */
export function inventory(
  root: DirectoryNode,
  manifest: MeasuredManifest,
  stores: ReadonlyMap<string, StoreContent> = new Map(),
): InventoryEntry[] {
  const found: InventoryEntry[] = []
  const first = new Map<TreeNode, string>()
  for (const { shown, node } of places(root, stores)) {
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
      ...storedAt(stores.get(shown)),
      ...(linkOf === undefined ? {} : { linkOf }),
    })
  }
  return found.toSorted((a, b) => fileClasses.indexOf(a.class) - fileClasses.indexOf(b.class))
}

function storedAt(store: StoreContent | undefined): { readonly stored?: number } {
  return store === undefined || store.content !== undefined ? {} : { stored: store.size }
}

interface Place {
  readonly shown: string
  readonly node: TreeNode
}

/** Mount points stand in both trees, and are shown once. */
function* places(root: DirectoryNode, stores: ReadonlyMap<string, StoreContent>): Generator<Place> {
  const seen = new Set<string>()
  for (const { path, node } of walk(root)) {
    const shown = displayName(path)
    seen.add(shown)
    yield { shown, node }
  }
  for (const [at, { content }] of stores)
    for (const { path, node } of content === undefined ? [] : walk(content)) {
      const shown = `${at}${displayName(path)}`
      if (path !== "/" && !seen.has(shown)) yield { shown, node }
    }
}

/** Bytes and files of each class, what is not protected first; classes without a file too. */
export function coverage(files: readonly InventoryEntry[]): ClassCoverage[] {
  return fileClasses.map((name) => {
    const mine = files.filter(
      (file) => file.class === name && file.kind === "file" && file.linkOf === undefined,
    )
    const stored = files
      .filter((file) => file.class === name)
      .reduce((sum, file) => sum + (file.stored ?? 0), 0)
    return {
      class: name,
      fileCount: mine.length,
      size: mine.reduce((sum, file) => sum + (file.size ?? 0), stored),
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
