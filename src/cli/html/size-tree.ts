import type { FileClass, InventoryEntry, SealedReport } from "../../seal/index.ts"

/** A place of the filesystem as the picture draws it. */
export interface SizeNode {
  readonly path: string
  readonly name: string
  /** Bytes of the files below, a hard link once. */
  readonly size: number
  /** What the area is made of: the size, or the least that can be seen. */
  readonly weight: number
  /** Of all files below, when they have one. */
  readonly class: FileClass | "mixed"
  readonly children: readonly SizeNode[]
}

interface Building {
  readonly path: string
  readonly name: string
  readonly children: Map<string, Building>
  class: FileClass | undefined
  size: number
}

/** A region that is empty in the image is drawn with this share of the whole, or nobody would see it. */
const leastShare = 0.006

export function sizeTree(report: SealedReport): SizeNode {
  const root: Building = { path: "", name: "/", children: new Map(), class: undefined, size: 0 }
  for (const file of report.files)
    if (file.kind === "file" && file.linkOf === undefined) add(root, file)
  const total = report.coverage.reduce((sum, { size }) => sum + size, 0)
  const regionPaths = new Set<string>()
  for (const entry of report.files)
    if (report.manifest.regions.some(({ path }) => path === entry.path)) {
      regionPaths.add(entry.path)
      const place = placeOf(root, entry.path)
      place.class ??= entry.class
      if (entry.stored !== undefined) place.size = entry.stored
    }
  return weighed(root, Math.max(1, total * leastShare), regionPaths)
}

function add(root: Building, file: InventoryEntry): void {
  const place = placeOf(root, file.path)
  place.class = file.class
  place.size = file.size ?? 0
}

function placeOf(root: Building, path: string): Building {
  let place = root
  for (const name of path.split("/").filter((part) => part !== "")) {
    let next = place.children.get(name)
    if (next === undefined) {
      next = { path: `${place.path}/${name}`, name, children: new Map(), class: undefined, size: 0 }
      place.children.set(name, next)
    }
    place = next
  }
  return place
}

function weighed(place: Building, least: number, regions: ReadonlySet<string>): SizeNode {
  const children = [...place.children.values()].map((child) => weighed(child, least, regions))
  const size = place.size + children.reduce((sum, child) => sum + child.size, 0)
  const below = place.size + children.reduce((sum, child) => sum + child.weight, 0)
  const classes = new Set(children.filter(({ weight }) => weight > 0).map((child) => child.class))
  if (place.class !== undefined) classes.add(place.class)
  const [only = "measured", ...others] = classes
  return {
    path: place.path === "" ? "/" : place.path,
    name: place.name,
    size,
    weight: regions.has(place.path) ? Math.max(least, below) : below,
    class: others.length === 0 ? only : "mixed",
    children,
  }
}
